//! The wire between the bot and the exchange: one JSON line each way, in turn, over a loopback
//! connection that stays open from order to order.
//!
//! How the exchange's "I do not know that order" can be final, which no resend is safe without:
//! a request that was sent, and is still travelling, must not arrive *after* the answer.
//! - The exchange serves one connection at a time, to its end, in the order they were opened.
//! - A client gives a connection up as soon as a call on it fails, and only then opens another.
//! - A new worker is started only once the last one is dead, so its connection stands behind
//!   every connection of the dead one.
//!
//! So when a question is answered, every connection that could carry the order has been read to
//! its end. A real exchange must give the same guarantee by other means (Binance: `recvWindow`,
//! after which a late order is refused); where there is none, answer `Probe::Unknown` instead.

use std::io::{self, BufReader};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::lines;
use crate::stage::{Stage, Window};
use crate::strategy::{Fill, Order};

/// The bot's side of the exchange.
pub(crate) struct Desk {
    port: u16,
    connection: Option<Connection>,
    stage: Stage,
}

/// How a call ended: as much as can be known from here.
pub(crate) enum Call {
    Answered(Reply),
    /// Nothing reached the wire.
    NotSent(String),
    /// It went out, and no answer came: the exchange may have filled it, or not.
    NoAnswer(String),
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Request {
    Place {
        client_id: String,
        order: Order,
    },
    /// What became of `client_id`? `order` and `attempt` are for the exchange's record only.
    Ask {
        client_id: String,
        order: u64,
        attempt: u32,
    },
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Reply {
    Filled(Fill),
    Rejected(String),
    Unknown,
}

type Connection = BufReader<TcpStream>;

/// Far above any answer of a live exchange on loopback; only so that nothing waits for ever.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

impl Desk {
    pub(crate) fn new(port: u16, stage: Stage) -> Self {
        Self { port, connection: None, stage }
    }

    pub(crate) fn stage(&self) -> Stage {
        self.stage
    }

    /// Sends a market order.
    pub(crate) fn place(&mut self, client_id: &str, order: &Order) -> Call {
        let stage = self.stage;
        let passing = |window| stage.at(window, order.number);
        passing(Window::BeforeCall);
        let request = Request::Place { client_id: client_id.to_owned(), order: order.clone() };
        self.call(&request, passing)
    }

    /// Asks what became of an order.
    pub(crate) fn ask(&mut self, client_id: &str, order: u64, attempt: u32) -> Call {
        let client_id = client_id.to_owned();
        self.call(&Request::Ask { client_id, order, attempt }, |_| ())
    }

    fn call(&mut self, request: &Request, passing: impl Fn(Window)) -> Call {
        let mut connection = match self.connected() {
            Ok(connection) => connection,
            Err(error) => return Call::NotSent(error.to_string()),
        };
        let answered = lines::write(connection.get_mut(), request).and_then(|()| {
            passing(Window::InCall);
            lines::read(&mut connection)
        });
        match answered {
            Ok(Some(reply)) => {
                passing(Window::AfterReply);
                self.connection = Some(connection);
                Call::Answered(reply)
            }
            // The connection is dropped here: what is on it can no longer be answered.
            Ok(None) => Call::NoAnswer("the exchange closed the connection".to_owned()),
            Err(error) => Call::NoAnswer(error.to_string()),
        }
    }

    fn connected(&mut self) -> io::Result<Connection> {
        if let Some(connection) = self.connection.take() {
            return Ok(connection);
        }
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
        Ok(BufReader::new(stream))
    }
}
