//! The certificates of a listener: read from files, chosen for each client, and replaced while it
//! serves.

use std::{
    fmt, fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use arc_swap::ArcSwap;
use dhow_manifest::CertificateFiles;
use rustls::{
    InconsistentKeys, ServerConfig, SignatureScheme,
    crypto::{CryptoProvider, ring},
    pki_types::{
        CertificateDer, PrivateKeyDer, ServerName, UnixTime,
        pem::{self, PemObject as _},
    },
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use thiserror::Error;
use webpki::{EndEntityCert, KeyUsage};

/// What a client may choose with ALPN, the better first.
const PROTOCOLS: [&[u8]; 2] = [HTTP2, b"http/1.1"];
/// HTTP/2 over TLS (RFC 9113, section 3.2).
pub(super) const HTTP2: &[u8] = b"h2";

/// The certificates of one listener, which can be replaced while it serves: connections that are
/// open keep what they were shown.
///
/// A client is shown the first certificate that is valid for the name it asks for (SNI, RFC 6066)
/// and whose key it can verify. If it asks for none, or none is valid for it, it is shown the first
/// of the list, as nginx does: the client can then tell its user what is wrong, which it can't with
/// a connection that is closed.
///
/// TLS 1.2 and 1.3 are spoken, HTTP/2 and HTTP/1.1 offered. Sessions are resumed by tickets, for at
/// most 12 hours, and not after the certificates were replaced: who resumes is shown none. Nothing
/// is accepted before the handshake has ended (0-RTT), since anybody could send it again.
pub struct Certificates {
    current: ArcSwap<Loaded>,
}

/// All that was made of the files at one time.
struct Loaded {
    files: Vec<CertificateFiles>,
    /// Of each chain and each key, from before it was read: a change meanwhile is seen later.
    marks: Vec<Option<Mark>>,
    config: Arc<ServerConfig>,
}

impl Certificates {
    /// Reads the certificates that `files` hold. Blocks as long as the disk takes, as do the other
    /// methods here that read.
    ///
    /// A certificate that has expired is accepted, with a warning in the log: other names may be
    /// served by others, and it may be renewed at any time.
    ///
    /// # Errors
    /// When there are no files, one can't be read, or a chain and its key are none or do not belong
    /// together.
    pub fn read(files: &[CertificateFiles]) -> Result<Self, CertificateError> {
        Ok(Self { current: ArcSwap::from_pointee(Loaded::read(files)?) })
    }

    /// Reads the same files again.
    ///
    /// # Errors
    /// As [`Certificates::read`]; what was served before is then still served.
    pub fn reload(&self) -> Result<(), CertificateError> {
        let before = self.current.load_full();
        let reloaded = Arc::new(Loaded::read(&before.files)?);
        // Not over what `replace` has set meanwhile, which may be of other files.
        self.current.compare_and_swap(&before, reloaded);
        Ok(())
    }

    /// Serves what these files hold instead.
    ///
    /// # Errors
    /// As [`Certificates::read`]; what was served before is then still served.
    pub fn replace(&self, files: &[CertificateFiles]) -> Result<(), CertificateError> {
        self.current.store(Arc::new(Loaded::read(files)?));
        Ok(())
    }

    /// Whether the files are others than those that are served: by inode, length and time of
    /// change. It stays true after a reload that has failed, so that it is tried again.
    pub fn has_changed(&self) -> bool {
        let current = self.current.load();
        marks(&current.files) != current.marks
    }

    /// For the next handshake.
    pub(super) fn config(&self) -> Arc<ServerConfig> {
        self.current.load().config.clone()
    }
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Certificates").field(&self.current.load().files).finish()
    }
}

impl Loaded {
    fn read(files: &[CertificateFiles]) -> Result<Self, CertificateError> {
        if files.is_empty() {
            return Err(CertificateError::None);
        }
        let marks = marks(files);
        let provider = Arc::new(ring::default_provider());
        let keys = files.iter().map(|files| read_key(files, &provider).map(Arc::new));
        let keys = ByName(keys.collect::<Result<_, _>>()?);
        let config = config(provider, keys).map_err(CertificateError::Tls)?;
        Ok(Self { files: files.to_vec(), marks, config: Arc::new(config) })
    }
}

fn config(provider: Arc<CryptoProvider>, keys: ByName) -> Result<ServerConfig, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(keys));
    config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
    config.ticketer = ring::Ticketer::new()?;
    Ok(config)
}

/// A file as it was at one time. The time is that of the last change to content, name or rights,
/// which no program can set back.
#[derive(PartialEq, Eq)]
struct Mark {
    device: u64,
    inode: u64,
    length: u64,
    changed: (i64, i64),
}

/// Those of each chain and each key; none where there is no file. Links are followed, since
/// certbot and Kubernetes renew by changing where they lead.
fn marks(files: &[CertificateFiles]) -> Vec<Option<Mark>> {
    let mark = |path: &PathBuf| {
        let metadata = fs::metadata(path).ok()?;
        Some(Mark {
            device: metadata.dev(),
            inode: metadata.ino(),
            length: metadata.len(),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    };
    files.iter().flat_map(|files| [&files.chain, &files.key]).map(mark).collect()
}

fn read_key(
    files: &CertificateFiles,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, CertificateError> {
    let CertificateFiles { chain, key } = files;
    let certificates = parse_chain(chain)?;
    let private = provider
        .key_provider
        .load_private_key(parse_key(key)?)
        .map_err(|source| CertificateError::UnusableKey { file: key.clone(), source })?;
    let certified = CertifiedKey::new(certificates, private);
    match certified.keys_match() {
        // Unknown where a key can't say its public half; those of ring all can.
        Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(certified),
        Err(_) => Err(CertificateError::Mismatch { chain: chain.clone(), key: key.clone() }),
    }
}

/// At least one certificate, the first of which is well formed.
fn parse_chain(file: &Path) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let chain = CertificateDer::pem_slice_iter(&read(file)?)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|source| CertificateError::NotPem { file: file.into(), source })?;
    let first = chain.first().ok_or_else(|| CertificateError::NoCertificate(file.into()))?;
    let first = EndEntityCert::try_from(first)
        .map_err(|source| CertificateError::Malformed { file: file.into(), source })?;
    warn_of_refusal(file, &first);
    Ok(chain)
}

fn parse_key(file: &Path) -> Result<PrivateKeyDer<'static>, CertificateError> {
    let text = read(file)?;
    let is_encrypted = || text.windows(ENCRYPTED.len()).any(|window| window == ENCRYPTED);
    PrivateKeyDer::from_pem_slice(&text).map_err(|error| match error {
        pem::Error::NoItemsFound if is_encrypted() => CertificateError::EncryptedKey(file.into()),
        pem::Error::NoItemsFound => CertificateError::NoKey(file.into()),
        source => CertificateError::NotPem { file: file.into(), source },
    })
}

/// How PKCS #8 with a password begins (RFC 7468, section 11).
const ENCRYPTED: &[u8] = b"-----BEGIN ENCRYPTED PRIVATE KEY-----";

fn read(file: &Path) -> Result<Vec<u8>, CertificateError> {
    fs::read(file).map_err(|source| CertificateError::Unreadable { file: file.into(), source })
}

/// Says what clients will have against a certificate, as far as it does not depend on whom they
/// trust.
fn warn_of_refusal(file: &Path, certificate: &EndEntityCert<'_>) {
    // Without an authority that it could lead to. Time and use are checked before that.
    let usage = KeyUsage::server_auth();
    let verified =
        certificate.verify_for_usage(&[], &[], &[], UnixTime::now(), usage, None, None).map(drop);
    let file = file.display();
    match verified {
        Ok(()) | Err(webpki::Error::UnknownIssuer) => {}
        Err(webpki::Error::CertExpired { .. }) => {
            tracing::warn!(%file, "the certificate has expired");
        }
        Err(webpki::Error::CertNotValidYet { .. }) => {
            tracing::warn!(%file, "the certificate is not valid yet");
        }
        Err(error) => tracing::warn!(%file, %error, "clients may refuse the certificate"),
    }
}

/// Chooses among certificates by the client's server name. Never empty.
#[derive(Debug)]
struct ByName(Vec<Arc<CertifiedKey>>);

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.choose(hello.server_name(), hello.signature_schemes()).cloned()
    }
}

impl ByName {
    /// Names of several certificates may be the same where their keys are of different kinds.
    fn choose(
        &self,
        name: Option<&str>,
        schemes: &[SignatureScheme],
    ) -> Option<&Arc<CertifiedKey>> {
        let name = name.and_then(|name| ServerName::try_from(name).ok());
        let mut of_name = self.0.iter().filter(|key| is_for(key, name.as_ref()));
        let is_usable = |key: &&Arc<CertifiedKey>| key.key.choose_scheme(schemes).is_some();
        of_name.find(is_usable).or_else(|| self.0.iter().find(is_usable)).or(self.0.first())
    }
}

fn is_for(key: &CertifiedKey, name: Option<&ServerName<'_>>) -> bool {
    let Some((name, certificate)) = name.zip(key.cert.first()) else { return false };
    EndEntityCert::try_from(certificate)
        .is_ok_and(|certificate| certificate.verify_is_valid_for_subject_name(name).is_ok())
}

/// Certificates that can't be served.
#[derive(Debug, Error)]
pub enum CertificateError {
    /// The list of files is empty.
    #[error("there is no certificate to serve")]
    None,
    /// A file that can't be read.
    #[error("can't read `{}`: {source}", file.display())]
    Unreadable {
        /// The chain or the key.
        file: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file with PEM that is broken (RFC 7468).
    #[error("`{}` is not valid PEM: {source}", file.display())]
    NotPem {
        /// The chain or the key.
        file: PathBuf,
        /// Where it is broken.
        #[source]
        source: pem::Error,
    },
    /// A chain without a certificate.
    #[error("there is no certificate in `{}`", .0.display())]
    NoCertificate(PathBuf),
    /// A chain whose first certificate is not X.509, version 3 (RFC 5280).
    #[error("the first certificate in `{}` is malformed: {source}", file.display())]
    Malformed {
        /// The chain.
        file: PathBuf,
        /// What is wrong.
        #[source]
        source: webpki::Error,
    },
    /// A key's file without a key.
    #[error("there is no private key in `{}`", .0.display())]
    NoKey(PathBuf),
    /// A key that is protected by a password.
    #[error("the private key in `{}` needs a password", .0.display())]
    EncryptedKey(PathBuf),
    /// A key of a kind, or a size, that is not supported.
    #[error("the private key in `{}` can't be used: {source}", file.display())]
    UnusableKey {
        /// The key.
        file: PathBuf,
        /// Why.
        #[source]
        source: rustls::Error,
    },
    /// A key that is not the certificate's.
    #[error(
        "the private key in `{}` does not belong to the first certificate in `{}`",
        key.display(),
        chain.display()
    )]
    Mismatch {
        /// The chain.
        chain: PathBuf,
        /// The key.
        key: PathBuf,
    },
    /// TLS itself can't be set up, for want of random numbers.
    #[error("can't set up TLS: {0}")]
    Tls(#[source] rustls::Error),
}

impl CertificateError {
    /// What to do about it, where that can be said.
    pub fn help(&self) -> Option<String> {
        Some(match self {
            Self::None => "name a chain and a key, or serve without TLS".into(),
            Self::Unreadable { file, source } => match source.kind() {
                io::ErrorKind::NotFound => "check the path".into(),
                io::ErrorKind::PermissionDenied => {
                    format!("let the server's user read `{}`, and its folders", file.display())
                }
                _ => return None,
            },
            Self::NotPem { .. } => "the file must be text, with each part between a line \
                 `-----BEGIN …-----` and a line `-----END …-----`"
                .into(),
            Self::NoCertificate(_) => "the chain's file must hold `-----BEGIN CERTIFICATE-----`; \
                 are chain and key swapped?"
                .into(),
            Self::EncryptedKey(file) => {
                format!("take the password off: `openssl pkey -in {} -out new.key`", file.display())
            }
            Self::NoKey(_) => "the key's file must hold `-----BEGIN PRIVATE KEY-----`; are chain \
                 and key swapped?"
                .into(),
            Self::UnusableKey { .. } => {
                "use ECDSA (P-256 or P-384), Ed25519, or RSA of 2048 to 4096 bits".into()
            }
            Self::Mismatch { .. } => "the server's own certificate must be the first of the \
                 chain, and the key the one that it was issued for"
                .into(),
            Self::Malformed { .. } | Self::Tls(_) => return None,
        })
    }
}

#[cfg(test)]
pub(super) mod tests;
