//! The command line of aktualizr-get: one GET with this device's certificate. On LmP, Docker's credential helper asks by it for
//! the logins of registries.

use std::io::{self, IsTerminal, Read, Write};
use std::path::PathBuf;

use argh::FromArgs;

use super::{argv, exit, start_logging};
use crate::agent::Memory;
use crate::config::load;
use crate::gateway::redact::{harmless, redacted};

const NAME: &str = "aktualizr-get";

/// GETs a URL (https) as this device: with its TLS certificate, and trusting the authorities of its servers. The body goes to
/// stdout. Exit codes: 0 the server answered 200, 1 anything else
#[derive(FromArgs)]
struct Get {
    /// what to get
    #[argh(option, short = 'u')]
    url: Option<String>,
    /// a header, "NAME: VALUE"; repeatable
    #[argh(option, short = 'H')]
    header: Vec<String>,
    /// configuration file or folder; repeatable, replaces the default ones
    #[argh(option, short = 'c')]
    config: Vec<PathBuf>,
    /// how much to say on stderr: 0 trace, 1 debug, 2 info, 3 warnings, 4 errors
    #[argh(option, default = "3")]
    loglevel: u8,
    /// TUF or Uptane; accepted, without an effect
    #[argh(option, short = 's')]
    #[allow(dead_code)]
    storage_type: Option<String>,
    /// print the version
    #[argh(switch, short = 'v')]
    version: bool,
}

/// Prints what was asked for.
pub(super) fn main(argv: &[String]) -> u8 {
    let words = argv::normalise(argv.get(1..).unwrap_or_default());
    let words: Vec<&str> =
        words.iter().map(|word| if word == "-h" { "--help" } else { word.as_str() }).collect();
    let args = match Get::from_args(&[NAME], &words) {
        Ok(args) => args,
        Err(early) if early.status.is_ok() => {
            println!("{}", early.output.trim_end());
            return exit::OK;
        }
        Err(early) => {
            return failed(&format!("{}; {NAME} --help tells what there is", early.output.trim_end()));
        }
    };
    if args.version {
        println!("Current {NAME} version is: {}", env!("CARGO_PKG_VERSION"));
        return exit::OK;
    }
    start_logging(args.loglevel);
    match get(&args) {
        Ok(()) => exit::OK,
        Err(problem) => failed(&problem),
    }
}

fn failed(problem: &str) -> u8 {
    eprintln!("{NAME}: {}", redacted(problem));
    exit::ERROR
}

fn get(args: &Get) -> Result<(), String> {
    let url = args.url.as_deref().ok_or("nothing to get: name it with --url")?;
    let headers = args.header.iter().map(|text| header(text)).collect::<Result<_, _>>()?;
    let (_, settings) = load(&args.config).map_err(|e| e.to_string())?;
    let http = Memory::default().http(&settings).map_err(|e| e.to_string())?.with_headers(headers);
    let mut stream = http.open(url, 0).map_err(|e| e.to_string())?;
    if stream.status != 200 {
        return Err(format!("{url}: the server answered {}, and not 200", stream.status));
    }
    let terminal = io::stdout().is_terminal();
    let mut out = io::stdout().lock();
    let copied =
        if terminal { show(&mut stream, &mut out) } else { io::copy(&mut stream, &mut out).map(drop) };
    copied.and_then(|()| out.flush()).map_err(|e| format!("{url}: {e}"))
}

/// For a program the body is what came; a terminal does not do what a server says.
fn show(stream: &mut impl Read, out: &mut impl Write) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            count => out.write_all(harmless(&String::from_utf8_lossy(&buffer[..count])).as_bytes())?,
        }
    }
}

fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) =
        text.split_once(':').ok_or_else(|| format!("--header '{text}' is not NAME: VALUE"))?;
    Ok((name.trim().to_string(), value.trim().to_string()))
}
