//! A server, or somebody before it, that lets no TLS come about.

#![allow(missing_docs, clippy::unwrap_used)]

mod hostile_common;

use std::io::{BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hostile_common::Case;
use hostile_common::answer::{MOST_DISK, MOST_MEMORY, Rule};
use hostile_common::common::World;

/// What happens below HTTP.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Wire {
    Honest,
    /// Nothing is ever said.
    Silence,
    /// The real server's bytes, one at a time.
    Drip,
    /// No TLS at all, without end.
    Noise,
    /// The beginning of a record that never ends.
    LongRecord,
    /// The real server, until the handshake is half over.
    Cut,
}

/// Between the device and the real server.
fn relay(server: String, wire: Arc<Mutex<Wire>>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (server, wire) = (server.clone(), *wire.lock().unwrap());
            std::thread::spawn(move || {
                let _ = wire.pass(stream, &server);
            });
        }
    });
    port
}

impl Wire {
    fn pass(self, mut device: TcpStream, server: &str) -> std::io::Result<()> {
        match self {
            Wire::Silence => {
                std::io::copy(&mut device, &mut std::io::sink())?;
                return Ok(());
            }
            Wire::Noise => loop {
                device.write_all(&[0x55; 65536])?;
            },
            Wire::LongRecord => {
                device.write_all(&[22, 3, 3, 0xFF, 0xFF])?;
                loop {
                    device.write_all(&[2; 1000])?;
                    std::thread::sleep(Duration::from_millis(50));
                }
            }
            Wire::Honest | Wire::Drip | Wire::Cut => {}
        }
        let mut server = TcpStream::connect(server)?;
        let (mut from, mut to) = (device.try_clone()?, server.try_clone()?);
        std::thread::spawn(move || {
            let _ = std::io::copy(&mut from, &mut to);
            let _ = to.shutdown(std::net::Shutdown::Write);
        });
        if self == Wire::Honest {
            std::io::copy(&mut server, &mut device)?;
            return device.shutdown(std::net::Shutdown::Write);
        }
        for (number, byte) in BufReader::new(server).bytes().enumerate() {
            if self == Wire::Cut && number == 300 {
                return device.shutdown(std::net::Shutdown::Both);
            }
            device.write_all(&[byte?])?;
            if self == Wire::Drip {
                std::thread::sleep(Duration::from_millis(200));
            }
        }
        Ok(())
    }
}

#[test]
fn tls_that_leads_nowhere() {
    let mut world = World::new("hostile-tls");
    world.release(2);
    let wire = Arc::new(Mutex::new(Wire::Honest));
    let port = relay(world.address.trim_start_matches("https://").to_string(), wire.clone());
    world.address = format!("https://127.0.0.1:{port}");
    let server = &world.address;
    world.fragment("10-server", &format!("[tls]\nserver = {server}\n[network]\nstall_sec = 1\n"));
    let case = Case { world, rule: Rule::default() };
    assert_eq!(case.run("check").0, 16);
    for (command, codes) in [("check", [13, 13]), ("download", [50, 13])] {
        for way in [Wire::Silence, Wire::Drip, Wire::Noise, Wire::LongRecord, Wire::Cut] {
            *wire.lock().unwrap() = way;
            let (disk, began) = (case.disk(), Instant::now());
            let (code, said, peak) = case.run(command);
            let (seconds, grown) = (began.elapsed().as_secs_f32(), case.disk().saturating_sub(disk));
            println!(
                "| `{command}`, TLS | {way:?} | {code} | {:.1} MiB | {grown} kB | {seconds:.1} s |",
                peak as f32 / 1024.0
            );
            let about = format!("{command} {way:?}: {code}\n{said}");
            assert!(codes.contains(&code), "{about}");
            assert!(peak <= MOST_MEMORY && grown <= MOST_DISK, "{peak} kB, {grown} kB: {about}");
            assert!(said.contains(&case.world.address), "the error does not name the server: {about}");
            *wire.lock().unwrap() = Wire::Honest;
            let (code, said, _) = case.run("check");
            assert_eq!(code, 16, "the honest run after {about}\n{said}");
        }
    }
    assert_eq!(case.run("download").0, 0);
}
