//! What is set on every socket.

#[cfg(unix)]
use std::os::fd::AsFd as Socket;
#[cfg(windows)]
use std::os::windows::io::AsSocket as Socket;

use socket2::SockRef;

use crate::config::Config;

/// `send.buffer.bytes` and `receive.buffer.bytes`; `None` for the system's choice.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(not(any(feature = "tokio", feature = "smol")), allow(unreachable_pub, reason = "public by milena::task"))]
pub struct SocketOptions {
    send: Option<usize>,
    receive: Option<usize>,
}

impl SocketOptions {
    pub(super) fn of(config: &Config) -> Self {
        Self { send: config.send_buffer(), receive: config.receive_buffer() }
    }

    /// Sets them, turns Nagle's delay off and keep-alive on, as Java does. A system that refuses one of them is left alone.
    #[cfg_attr(
        not(any(feature = "tokio", feature = "smol")),
        allow(unreachable_pub, reason = "public by milena::task")
    )]
    pub fn apply(self, socket: &impl Socket) {
        let socket = SockRef::from(socket);
        let set = [
            Some(socket.set_tcp_nodelay(true)),
            Some(socket.set_keepalive(true)),
            self.send.map(|bytes| socket.set_send_buffer_size(bytes)),
            self.receive.map(|bytes| socket.set_recv_buffer_size(bytes)),
        ];
        for error in set.into_iter().flatten().filter_map(Result::err) {
            log::debug!("a socket option was refused: {error}");
        }
    }
}
