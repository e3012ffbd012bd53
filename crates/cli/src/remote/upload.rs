//! Sending files to a server that it does not have.

use std::{collections::BTreeMap, convert::Infallible};

use bytes::Bytes;
use dhow_manifest::Name;
use dhow_package::Artifact;
use futures_util::stream;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;

use super::{
    client::{Body, Client},
    problem::Refusal,
};
use crate::output::Upload;

/// What is sent at a time: often enough to be seen, and rarely enough to cost nothing.
const CHUNK: usize = 64 << 10;

/// Sends what the server does not have yet, and says what each component's digest is.
pub(super) async fn upload(
    client: &Client,
    artifacts: BTreeMap<Name, Artifact>,
) -> Result<BTreeMap<String, String>, Refusal> {
    let mut digests = BTreeMap::new();
    for (name, artifact) in artifacts {
        let digest = artifact.digest().to_string();
        let path = format!("/v1/blobs/{digest}");
        if !client.has(&path).await? {
            let length = artifact.bytes().len() as u64;
            client.upload(&path, body(artifact, Upload::start(&name, length)), length).await?;
        }
        digests.insert(name.to_string(), digest);
    }
    Ok(digests)
}

fn body(artifact: Artifact, progress: Upload) -> Body {
    let chunks = stream::unfold(Bytes::from_owner(File(artifact)), move |mut rest| {
        let chunk = rest.split_to(rest.len().min(CHUNK));
        progress.sent(chunk.len() as u64);
        let frame = (!chunk.is_empty()).then(|| (Ok::<_, Infallible>(Frame::data(chunk)), rest));
        std::future::ready(frame)
    });
    StreamBody::new(chunks).boxed_unsync()
}

/// The bytes of an artifact, which are not copied to be sent.
struct File(Artifact);

impl AsRef<[u8]> for File {
    fn as_ref(&self) -> &[u8] {
        self.0.bytes()
    }
}
