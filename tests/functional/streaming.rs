//! Bodies: in both directions at once, of any size, at the pace of the slower side.

use std::time::Duration;

use bytes::Bytes;
use dhow_tests::{
    Up,
    client::{Connection, answer, by_hand, full, get, next_data},
};
use http::{HeaderMap, Request};
use http_body::Frame;
use tokio::time::timeout;

const GUESTS: [&str; 2] = ["echo", "echo-p2"];

#[tokio::test(flavor = "multi_thread")]
async fn the_response_begins_before_the_request_has_ended() {
    for guest in GUESTS {
        let up = Up::guest(guest, "");
        for mut connection in Connection::both(up.address).await {
            let (sender, body) = by_hand();
            let request = connection.request("POST", "/", body);
            sender.send(Frame::data(Bytes::from("first"))).await.unwrap();
            let mut response = connection.send(request).await.unwrap().into_body();
            assert_eq!(next_data(&mut response).await.unwrap().unwrap(), "first");
            // The last piece is sent only after the first has come back.
            sender.send(Frame::data(Bytes::from("last"))).await.unwrap();
            assert_eq!(next_data(&mut response).await.unwrap().unwrap(), "last");
            drop(sender);
            while let Some(rest) = next_data(&mut response).await {
                assert!(rest.unwrap().is_empty(), "nothing but trailers");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn trailers_come_and_go() {
    for guest in GUESTS {
        let up = Up::guest(guest, "");
        for mut connection in Connection::both(up.address).await {
            let request = with_trailers(connection.request("POST", "/", full("eight by")));
            let answer = answer(connection.send(request).await.unwrap()).await;
            assert_eq!(answer.text, "eight by", "{guest}");
            assert_eq!(answer.trailers["x-bytes"], "8", "{guest}");
        }
        // Both are logged when they are dropped, which may be after their client has them.
        up.terminate();
        up.wait_for_log("Stopping");
        let lines = up.wait_for_end();
        assert_eq!(lines.matches("POST / 200 8 bytes").count(), 2, "{lines}");
        assert!(!lines.contains("cut off"), "{lines}");
    }
    let up = Up::guest("echo", "");
    for mut connection in Connection::both(up.address).await {
        let (sender, body) = by_hand();
        let mut request = with_trailers(connection.request("POST", "/", body));
        request.headers_mut().insert("trailer", "x-request-trailer".parse().unwrap());
        let send = async {
            sender.send(Frame::data(Bytes::from("body"))).await.unwrap();
            let mut trailers = HeaderMap::new();
            trailers.insert("x-request-trailer", "there".parse().unwrap());
            sender.send(Frame::trailers(trailers)).await.unwrap();
            drop(sender);
        };
        let (response, ()) = tokio::join!(connection.send(request), send);
        let answer = answer(response.unwrap()).await;
        assert_eq!(answer.trailers["x-request-trailer"], "there");
    }
}

/// HTTP/1.1 sends trailers only to who says that they are welcome.
fn with_trailers<B>(mut request: Request<B>) -> Request<B> {
    request.headers_mut().insert("te", "trailers".parse().unwrap());
    request
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gibibyte_passes_through_in_less_than_50_mebibytes() {
    const PIECE: usize = 256 << 10;
    for (guest, path, mebibytes) in
        [("echo", "/", 1024), ("echo", "/pass", 256), ("echo-p2", "/", 64)]
    {
        let up = Up::guest(guest, "");
        assert_eq!(get(up.address, path).await.status, 200);
        let before = up.forget_peak_memory();
        let mut connection = Connection::http1(up.address).await;
        let (sender, body) = by_hand();
        let request = connection.request("POST", path, body);
        let send = async {
            let piece = Bytes::from(vec![7; PIECE]);
            for _ in 0..mebibytes * (1 << 20) / PIECE {
                sender.send(Frame::data(piece.clone())).await.unwrap();
            }
            drop(sender);
        };
        let receive = async {
            let mut response = connection.send(request).await.unwrap().into_body();
            let mut bytes = 0;
            while let Some(data) = next_data(&mut response).await {
                bytes += data.unwrap().len();
            }
            bytes
        };
        let ((), bytes) = tokio::join!(send, receive);
        assert_eq!(bytes, mebibytes << 20, "{guest}{path}");
        let grown = (up.peak_memory() - before) >> 20;
        assert!(grown < 50, "{guest}{path}: {grown} MiB");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_read_is_waited_for() {
    const PIECE: usize = 64 << 10;
    let up = Up::guest("echo", "");
    for mut connection in Connection::both(up.address).await {
        let (sender, body) = by_hand();
        let request = connection.request("POST", "/", body);
        let piece = Bytes::from(vec![7; PIECE]);
        sender.send(Frame::data(piece.clone())).await.unwrap();
        let mut response = connection.send(request).await.unwrap().into_body();
        // Nothing is read: sending must come to a halt when every buffer on the way is full.
        let mut sent = PIECE;
        while let Ok(result) =
            timeout(Duration::from_secs(1), sender.send(Frame::data(piece.clone()))).await
        {
            result.unwrap();
            sent += PIECE;
            assert!(sent < 64 << 20, "nobody is held up");
        }
        drop(sender);
        let mut received = 0;
        while let Some(data) = next_data(&mut response).await {
            received += data.unwrap().len();
        }
        assert_eq!(received, sent, "and all of it arrives in the end");
    }
}
