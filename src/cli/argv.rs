//! argv as people type it, brought into the form that argh reads.

/// Options that may stand anywhere and belong to the program, not to a command. All take a value.
const GLOBAL: [&str; 3] = ["-c", "--config", "--loglevel"];

/// Splits `--key=value`, which argh does not know and every document shows, and moves the program's own
/// options before the command.
pub fn normalise(args: &[String]) -> Vec<String> {
    let mut global = Vec::new();
    let mut rest = Vec::new();
    let mut args = args.iter().flat_map(|a| split(a));
    while let Some(arg) = args.next() {
        if GLOBAL.contains(&arg.as_str()) {
            global.push(if arg == "-c" { "--config".to_string() } else { arg });
            global.extend(args.next());
        } else {
            rest.push(arg);
        }
    }
    global.extend(rest);
    global
}

fn split(arg: &str) -> Vec<String> {
    match arg.split_once('=') {
        Some((key, value)) if key.starts_with("--") && key.len() > 2 => {
            vec![key.to_string(), value.to_string()]
        }
        _ => vec![arg.to_string()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_documents_show_it() {
        let cases = [
            ("--loglevel=0 check", "--loglevel 0 check"),
            ("check --json -c a -c b", "--config a --config b check --json"),
            ("install board-3", "install board-3"),
            ("download name=with=equals", "download name=with=equals"),
            ("--config=/x=y status", "--config /x=y status"),
            ("check -c", "--config check"),
        ];
        for (typed, expected) in cases {
            let args: Vec<String> = typed.split(' ').map(str::to_string).collect();
            assert_eq!(normalise(&args).join(" "), expected, "{typed}");
        }
    }
}
