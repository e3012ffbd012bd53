//! A name server whose answers change, as those of whoever runs a zone can.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};

use hickory_resolver::proto::{
    op::Message,
    rr::{RData, Record, RecordType, rdata::A},
};
use tokio::net::UdpSocket;

/// The running server. It knows every name.
pub struct NameServer {
    pub address: SocketAddr,
    leads_to: Arc<Mutex<Ipv4Addr>>,
    asked: Arc<AtomicUsize>,
}

impl NameServer {
    /// Starts one by which every name leads to `address`, for no time at all.
    pub async fn start(address: Ipv4Addr) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
        let server = Self {
            address: socket.local_addr().expect("bound"),
            leads_to: Arc::new(Mutex::new(address)),
            asked: Arc::default(),
        };
        let (leads_to, asked) = (server.leads_to.clone(), server.asked.clone());
        tokio::spawn(async move {
            let mut buffer = [0; 1500];
            while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
                asked.fetch_add(1, SeqCst);
                let address = *leads_to.lock().unwrap();
                let answer = answer(&buffer[..length], address);
                socket.send_to(&answer, from).await.expect("sent");
            }
        });
        server
    }

    /// From now on every name leads to `address`.
    pub fn rebind(&self, address: Ipv4Addr) {
        *self.leads_to.lock().unwrap() = address;
    }

    /// How many questions it was asked.
    pub fn asked(&self) -> usize {
        self.asked.load(SeqCst)
    }
}

fn answer(question: &[u8], address: Ipv4Addr) -> Vec<u8> {
    let question = Message::from_vec(question).expect("a question");
    let mut answer = Message::response(question.metadata.id, question.metadata.op_code);
    for query in &question.queries {
        if query.query_type() == RecordType::A {
            let data = RData::A(A(address));
            answer.add_answer(Record::from_rdata(query.name().clone(), 0, data));
        }
    }
    answer.add_queries(question.queries.clone());
    answer.to_vec().expect("an answer")
}
