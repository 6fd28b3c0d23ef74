//! A gate between clients and a node, or between a node and the controllers: it may be shut, hold answers back, or put an
//! error into answers to InitProducerId.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicI16, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A port of its own, behind which is another.
pub struct Gate {
    address: Ipv4Addr,
    port: u16,
    inside: Arc<Inside>,
}

#[derive(Default)]
struct Inside {
    target: u16,
    closed: AtomicBool,
    over: AtomicBool,
    /// For how many milliseconds answers are held back.
    delay: AtomicU64,
    /// What InitProducerId is answered, or 0 to leave it to the node.
    refusal: AtomicI16,
    /// How often it was.
    refused: AtomicU64,
    /// Answers to Produce that are held back.
    held: AtomicU64,
    /// Those that were when the node went away.
    lost: AtomicU64,
    /// Sockets of the connections that are open.
    sockets: Mutex<Vec<TcpStream>>,
}

/// A request that was passed on and not answered.
struct Asked {
    correlation: [u8; 4],
    key: i16,
    version: i16,
}

const PRODUCE: i16 = 0;
const INIT_PRODUCER_ID: i16 = 22;

impl Gate {
    /// On a port that is free.
    pub fn new(target: u16) -> Self {
        Self::at(Ipv4Addr::LOCALHOST, 0, target)
    }

    pub fn at(address: Ipv4Addr, port: u16, target: u16) -> Self {
        let listener = TcpListener::bind((address, port)).expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let inside = Arc::new(Inside { target, ..Inside::default() });
        let of_thread = inside.clone();
        std::thread::spawn(move || {
            for client in listener.incoming() {
                if of_thread.over.load(Ordering::SeqCst) {
                    return;
                }
                if let (Ok(client), false) = (client, of_thread.closed.load(Ordering::SeqCst)) {
                    of_thread.serve(client);
                }
            }
        });
        Self { address, port, inside }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Ends all connections, and lets nobody in.
    pub fn close(&self) {
        self.inside.closed.store(true, Ordering::SeqCst);
        self.inside.end_all();
    }

    pub fn open(&self) {
        self.inside.closed.store(false, Ordering::SeqCst);
    }

    pub fn is_closed(&self) -> bool {
        self.inside.closed.load(Ordering::SeqCst)
    }

    /// Holds answers back for so long. Those that wait when the node goes away are lost.
    pub fn hold_answers(&self, span: Duration) {
        self.inside.delay.store(span.as_millis() as u64, Ordering::SeqCst);
    }

    /// How many answers to Produce are held back now.
    pub fn held_answers(&self) -> u64 {
        self.inside.held.load(Ordering::SeqCst)
    }

    /// How many answers to Produce were lost so far.
    pub fn lost_answers(&self) -> u64 {
        self.inside.lost.load(Ordering::SeqCst)
    }

    /// InitProducerId is answered with this error from now on; 0 ends that.
    pub fn refuse_producer_ids(&self, code: i16) {
        self.inside.refusal.store(code, Ordering::SeqCst);
    }

    /// How often InitProducerId was answered with an error.
    pub fn refused_producer_ids(&self) -> u64 {
        self.inside.refused.load(Ordering::SeqCst)
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.inside.over.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect((self.address, self.port)); // wakes its thread
        self.inside.end_all();
    }
}

impl Inside {
    fn end_all(&self) {
        for socket in lock(&self.sockets).drain(..) {
            let _ = socket.shutdown(Shutdown::Both);
        }
    }

    fn serve(self: &Arc<Self>, client: TcpStream) {
        let Ok(node) = TcpStream::connect((Ipv4Addr::LOCALHOST, self.target)) else {
            return;
        };
        let both = || -> std::io::Result<[TcpStream; 4]> {
            client.set_nodelay(true)?;
            node.set_nodelay(true)?;
            let mut sockets = lock(&self.sockets);
            sockets.retain(|socket| socket.peer_addr().is_ok());
            sockets.extend([client.try_clone()?, node.try_clone()?]);
            Ok([client.try_clone()?, client.try_clone()?, node.try_clone()?, node.try_clone()?])
        };
        let Ok([from_client, to_client, from_node, to_node]) = both() else {
            return;
        };
        let asked = Arc::new(Mutex::new(VecDeque::new()));
        let (answers, held) = channel();
        let (inside, open) = (self.clone(), asked.clone());
        std::thread::spawn(move || inside.pass_up(from_client, to_node, &open));
        let inside = self.clone();
        std::thread::spawn(move || inside.pass_down(from_node, &answers, &asked));
        let inside = self.clone();
        std::thread::spawn(move || inside.hand_out(to_client, &held));
    }

    /// Passes requests on. What is not framed as Kafka's requests are is passed on, too.
    fn pass_up(&self, mut client: TcpStream, mut node: TcpStream, asked: &Mutex<VecDeque<Asked>>) {
        while let Some(frame) = read_frame(&mut client) {
            if let Some(asked_now) = Asked::of(&frame) {
                lock(asked).push_back(asked_now);
            }
            if node.write_all(&frame).is_err() {
                break;
            }
        }
        let _ = node.shutdown(Shutdown::Both);
        let _ = client.shutdown(Shutdown::Both);
    }

    fn pass_down(&self, mut node: TcpStream, held: &Sender<(Instant, bool, Vec<u8>)>, asked: &Mutex<VecDeque<Asked>>) {
        while let Some(mut frame) = read_frame(&mut node) {
            let asked = {
                let mut open = lock(asked);
                let place = open.iter().position(|asked| frame.get(4..8) == Some(&asked.correlation[..]));
                place.and_then(|place| open.remove(place))
            };
            let refusal = self.refusal.load(Ordering::SeqCst);
            if let (true, Some(asked)) = (refusal != 0, asked.as_ref().filter(|asked| asked.key == INIT_PRODUCER_ID)) {
                // The correlation id, no tags, the throttle time; then the code, and an id and an epoch that are none.
                let at = 8 + usize::from(asked.version >= 2) + 4;
                frame[at..at + 2].copy_from_slice(&refusal.to_be_bytes());
                frame[at + 2..at + 12].fill(0xff);
                self.refused.fetch_add(1, Ordering::SeqCst);
            }
            let due = now() + Duration::from_millis(self.delay.load(Ordering::SeqCst));
            let produced = asked.is_some_and(|asked| asked.key == PRODUCE);
            self.held.fetch_add(u64::from(produced), Ordering::SeqCst);
            if held.send((due, produced, frame)).is_err() {
                self.held.fetch_sub(u64::from(produced), Ordering::SeqCst);
                break;
            }
        }
        let _ = node.shutdown(Shutdown::Both);
        // Nothing more is handed out, which the other thread sees by an end that is due at once.
        let _ = held.send((now(), false, Vec::new()));
    }

    fn hand_out(&self, mut client: TcpStream, held: &Receiver<(Instant, bool, Vec<u8>)>) {
        let mut waiting: VecDeque<(Instant, bool, Vec<u8>)> = VecDeque::new();
        loop {
            let next = match waiting.front() {
                None => held.recv().ok(),
                Some((due, ..)) => match held.recv_timeout(due.saturating_duration_since(now())) {
                    Ok(answer) => Some(answer),
                    Err(_) => {
                        let written = waiting.front().is_some_and(|(.., frame)| client.write_all(frame).is_ok());
                        if written {
                            let written = waiting.pop_front();
                            let produced = written.is_some_and(|(_, produced, _)| produced);
                            self.held.fetch_sub(u64::from(produced), Ordering::SeqCst);
                            continue;
                        }
                        None
                    }
                },
            };
            match next {
                Some((.., frame)) if frame.is_empty() => break,
                Some(answer) => waiting.push_back(answer),
                None => break,
            }
        }
        let _ = client.shutdown(Shutdown::Both);
        let lost = waiting.into_iter().chain(held.try_iter()).filter(|(_, produced, _)| *produced).count() as u64;
        self.lost.fetch_add(lost, Ordering::SeqCst);
        self.held.fetch_sub(lost, Ordering::SeqCst);
    }
}

impl Asked {
    fn of(frame: &[u8]) -> Option<Self> {
        let number = |at: usize| Some(i16::from_be_bytes([*frame.get(at)?, *frame.get(at + 1)?]));
        Some(Self { key: number(4)?, version: number(6)?, correlation: frame.get(8..12)?.try_into().ok()? })
    }
}

/// A length and as many bytes.
fn read_frame(from: &mut TcpStream) -> Option<Vec<u8>> {
    let mut frame = vec![0; 4];
    from.read_exact(&mut frame).ok()?;
    let length = u32::from_be_bytes(frame[..].try_into().ok()?) as usize;
    frame.resize(4 + length, 0);
    from.read_exact(&mut frame[4..]).ok()?;
    Some(frame)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[expect(clippy::disallowed_methods, reason = "real brokers live in real time")]
fn now() -> Instant {
    Instant::now()
}
