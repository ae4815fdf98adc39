//! The fake exchange, a process of its own: fills market orders at once, keeps the ledger that is
//! the ground truth of the comparison, and loses requests and replies.
//!
//! Like Binance it refuses a client id that is already in use *only while that order is open*. A
//! market order is filled within the request that places it, so none is ever open when the next
//! request is read: there is nothing to refuse, and a resend after a fill is a second fill.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, ErrorKind};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::lines;
use crate::rng;
use crate::stage::{self, Notice};
use crate::strategy::{Fill, Order};
use crate::wire::{Reply, Request};

/// Serves one connection after the other until this process is ended: the order that
/// `wire.rs` builds on.
pub(crate) fn run(dir: &Path, seed: u64) -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let ledger = OpenOptions::new().create_new(true).append(true).open(dir.join(LEDGER))?;
    let mut exchange = Exchange {
        seed,
        ledger,
        filled: HashMap::new(),
        sends: HashMap::new(),
        asks: HashMap::new(),
    };
    stage::tell(&Notice::Listening(listener.local_addr()?.port()));
    loop {
        match listener.accept() {
            Ok((stream, _)) => exchange.serve(stream)?,
            // The client was killed before it was its turn.
            Err(error) if error.kind() == ErrorKind::ConnectionAborted => {}
            Err(error) => return Err(error),
        }
    }
}

struct Exchange {
    seed: u64,
    ledger: File,
    /// By client id.
    filled: HashMap<String, Fill>,
    /// How often each order was received, and asked for: what the losses are drawn by.
    sends: HashMap<u64, u64>,
    asks: HashMap<u64, u64>,
}

/// A line of the ledger, synced before anybody hears of it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Row {
    Filled {
        client_id: String,
        fill: Fill,
    },
    /// A question that was answered. `sends` counts the requests for that order received so far.
    Asked {
        client_id: String,
        order: u64,
        attempt: u32,
        sends: u64,
        known: bool,
    },
    LostRequest {
        order: u64,
    },
    LostReply {
        order: u64,
    },
}

const LEDGER: &str = "exchange.jsonl";

impl Row {
    pub(crate) fn fill(&self) -> Option<&Fill> {
        if let Self::Filled { fill, .. } = self { Some(fill) } else { None }
    }
}

impl Exchange {
    /// Answers a connection to its end: the client's, or the loss of one message.
    fn serve(&mut self, stream: TcpStream) -> io::Result<()> {
        if stream.set_nodelay(true).is_err() {
            return Ok(());
        }
        let mut stream = BufReader::new(stream);
        // A client that was killed shows as an end or an error of the stream: its end, not ours.
        while let Ok(Some(request)) = lines::read(&mut stream) {
            let Some(reply) = self.handle(request)? else { return Ok(()) };
            if lines::write(stream.get_mut(), &reply).is_err() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// `None`: lost. The connection is dropped with no answer, before or after the order is filled.
    fn handle(&mut self, request: Request) -> io::Result<Option<Reply>> {
        let (order, loss) = self.loss(&request);
        if loss == Loss::Request {
            self.write(&Row::LostRequest { order })?;
            return Ok(None);
        }
        let reply = match request {
            Request::Place { client_id, order } => self.place(client_id, &order)?,
            Request::Ask { client_id, order, attempt } => self.ask(client_id, order, attempt)?,
        };
        if loss == Loss::Reply {
            self.write(&Row::LostReply { order })?;
            return Ok(None);
        }
        Ok(Some(reply))
    }

    fn place(&mut self, client_id: String, order: &Order) -> io::Result<Reply> {
        if order.shares <= 0 || order.price_cents <= 0 {
            return Ok(Reply::Rejected(format!("not an order anybody could fill: {order:?}")));
        }
        let fill = order.filled();
        self.write(&Row::Filled { client_id: client_id.clone(), fill: fill.clone() })?;
        self.filled.insert(client_id, fill.clone());
        Ok(Reply::Filled(fill))
    }

    fn ask(&mut self, client_id: String, order: u64, attempt: u32) -> io::Result<Reply> {
        let fill = self.filled.get(&client_id).cloned();
        let sends = self.sends.get(&order).copied().unwrap_or(0);
        self.write(&Row::Asked { client_id, order, attempt, sends, known: fill.is_some() })?;
        Ok(fill.map_or(Reply::Unknown, Reply::Filled))
    }

    /// Drawn from the seed, the order and how often it has come: never from time, or from ids
    /// that differ from store to store. So the same message of the same order is lost every time.
    fn loss(&mut self, request: &Request) -> (u64, Loss) {
        let (order, kind, times) = match request {
            Request::Place { order, .. } => (order.number, 0, self.sends.entry(order.number)),
            Request::Ask { order, .. } => (*order, 1, self.asks.entry(*order)),
        };
        let times = times.and_modify(|times| *times += 1).or_insert(1);
        let loss = match rng::hash(&[self.seed, kind, order, *times]) % 100 {
            0..4 => Loss::Request,
            4..8 => Loss::Reply,
            _ => Loss::None,
        };
        (order, loss)
    }

    fn write(&mut self, row: &Row) -> io::Result<()> {
        lines::write(&mut self.ledger, row)?;
        self.ledger.sync_data()
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Loss {
    None,
    Request,
    Reply,
}

/// The ledger an exchange left in `dir`.
pub(crate) fn ledger(dir: &Path) -> io::Result<Vec<Row>> {
    lines::read_all(BufReader::new(File::open(dir.join(LEDGER))?)).collect()
}
