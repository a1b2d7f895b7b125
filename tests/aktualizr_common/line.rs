//! The line between a device and its server, which can be cut after any number of bytes.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use super::World;

/// A listener that passes all on to the server, until its bytes are used up.
pub struct Line {
    left: Arc<AtomicI64>,
}

impl Line {
    /// Stands between from now on: the device asks here.
    pub fn of(world: &World) -> Line {
        let server: SocketAddr = world.address.trim_start_matches("https://").parse().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let line = Line { left: Arc::new(AtomicI64::new(i64::MAX)) };
        let left = line.left.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (Ok(upstream), true) = (TcpStream::connect(server), left.load(Ordering::SeqCst) > 0)
                else {
                    continue;
                };
                let (to_server, to_client) = (upstream.try_clone().unwrap(), client.try_clone().unwrap());
                carry(client, to_server, Arc::new(AtomicI64::new(i64::MAX)));
                carry(upstream, to_client, left.clone());
            }
        });
        world.fragment("10-server", &format!("[tls]\nserver = \"https://{address}\"\n"));
        line
    }

    /// So many more bytes come from the server; then every connection ends, and there is no new one.
    pub fn cut_after(&self, bytes: i64) {
        self.left.store(bytes, Ordering::SeqCst);
    }

    /// Whole again.
    pub fn mend(&self) {
        self.cut_after(i64::MAX);
    }

    /// Whether bytes were kept back.
    pub fn is_cut(&self) -> bool {
        self.left.load(Ordering::SeqCst) <= 0
    }

    /// Bytes that came from the server since `cut_after(budget)`.
    pub fn used_of(&self, budget: i64) -> i64 {
        budget - self.left.load(Ordering::SeqCst)
    }
}

fn carry(mut from: TcpStream, mut to: TcpStream, left: Arc<AtomicI64>) {
    std::thread::spawn(move || {
        let mut buffer = vec![0; 16 * 1024];
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            let before = left.fetch_sub(count as i64, Ordering::SeqCst);
            let pass = (count as i64).min(before.max(0)) as usize;
            if to.write_all(&buffer[..pass]).is_err() || pass < count {
                break;
            }
        }
        let _ = (to.shutdown(Shutdown::Both), from.shutdown(Shutdown::Both));
    });
}
