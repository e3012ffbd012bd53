//! Serves another component of its app: calls that do little, and a stream of bytes.

wit_bindgen::generate!({ path: "../pipe-sink/wit", world: "source" });

use wit_bindgen::StreamReader;

struct Source;

export!(Source);

impl exports::bench::pipe::pipe::Guest for Source {
    fn add(a: u32, b: u32) -> u32 {
        a.wrapping_add(b)
    }

    async fn add_later(a: u32, b: u32) -> u32 {
        a.wrapping_add(b)
    }

    fn count(bytes: Vec<u8>) -> u32 {
        bytes.len() as u32
    }

    async fn open(bytes: u64, piece: u32) -> StreamReader<u8> {
        let (mut writer, reader) = wit_stream::new();
        wit_bindgen::spawn_local(async move {
            let mut piece = vec![7; piece as usize];
            let mut left = bytes;
            while left > 0 {
                piece.truncate(left.min(piece.len() as u64) as usize);
                left -= piece.len() as u64;
                let length = piece.len();
                let (_, rest) = writer.write(piece).await;
                piece = rest.into_vec();
                // SAFETY: it had this length, and what was in it is there still. Filling it again
                // would be measured with the stream.
                unsafe { piece.set_len(length) };
            }
        });
        reader
    }
}
