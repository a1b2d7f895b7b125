//! HTTP/1.1 requests: bytes in, a request or a reason to refuse out. No I/O.

/// A head longer than this is refused.
pub const MAX_HEAD: usize = 16 * 1024;
const MAX_HEADERS: usize = 100;

/// The head of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub method: String,
    /// As it came, for the log.
    pub target: String,
    /// The path in decoded segments: none is `.` or `..`, or holds a slash or a NUL; only the last may be empty (`/repo/`).
    pub path: Vec<String>,
    /// Names in lower case.
    headers: Vec<(String, String)>,
    pub keep_alive: bool,
    /// Bytes of the body.
    pub body: u64,
}

impl Request {
    /// A header's value, by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }
}

/// Why a request is not answered: a status, and words for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub status: u16,
    pub reason: &'static str,
}

/// Parses the head at the beginning of `bytes`. Gives the request and the length of its head, or nothing when more
/// bytes are needed.
pub fn parse(bytes: &[u8]) -> Result<Option<(Request, usize)>, Refusal> {
    // A client may send an empty line between requests.
    let skipped = bytes.iter().take_while(|b| matches!(b, b'\r' | b'\n')).count();
    let rest = &bytes[skipped..];
    let Some(end) = find(rest, b"\r\n\r\n") else {
        if bytes.len() >= MAX_HEAD {
            return Err(refuse(431, "the head is too long"));
        }
        return Ok(None);
    };
    if end > MAX_HEAD {
        return Err(refuse(431, "the head is too long"));
    }
    let head = std::str::from_utf8(&rest[..end]).map_err(|_| refuse(400, "the head is no UTF-8"))?;
    let mut lines = head.split("\r\n");
    let (method, target, minor) = request_line(lines.next().unwrap_or_default())?;
    let headers = header_lines(lines)?;
    let request = Request {
        path: path(target)?,
        method: method.to_string(),
        target: target.to_string(),
        keep_alive: keep_alive(&headers, minor),
        body: body_length(&headers)?,
        headers,
    };
    if minor == 1 && request.header("host").is_none() {
        return Err(refuse(400, "no Host header"));
    }
    Ok(Some((request, skipped + end + 4)))
}

/// The part of a file that a Range header asks for: first byte and length. `Ok(None)` means the whole file, which is
/// the answer to every form that is not one simple range.
pub fn range(header: Option<&str>, length: u64) -> Result<Option<(u64, u64)>, Refusal> {
    let unsatisfiable = Err(refuse(416, "the range lies outside the file"));
    let Some(spec) = header.and_then(|value| value.trim().strip_prefix("bytes=")) else {
        return Ok(None);
    };
    let Some((first, last)) = spec.split_once('-') else {
        return Ok(None);
    };
    match (number(first), number(last)) {
        (None, Some(0)) => unsatisfiable,
        (None, Some(_)) if first.is_empty() && length == 0 => unsatisfiable,
        (None, Some(suffix)) if first.is_empty() => {
            let size = suffix.min(length);
            Ok(Some((length - size, size)))
        }
        (Some(first), _) if first >= length => unsatisfiable,
        (Some(first), None) if last.is_empty() => Ok(Some((first, length - first))),
        (Some(first), Some(last)) if last >= first => Ok(Some((first, last.min(length - 1) - first + 1))),
        _ => Ok(None),
    }
}

fn request_line(line: &str) -> Result<(&str, &str, u8), Refusal> {
    let mut words = line.split(' ');
    let (Some(method), Some(target), Some(version), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(refuse(400, "no request line"));
    };
    if method.is_empty() || !method.bytes().all(is_token) {
        return Err(refuse(400, "no method"));
    }
    match version {
        "HTTP/1.1" => Ok((method, target, 1)),
        "HTTP/1.0" => Ok((method, target, 0)),
        _ => Err(refuse(505, "neither HTTP/1.1 nor HTTP/1.0")),
    }
}

fn header_lines<'a>(lines: impl Iterator<Item = &'a str>) -> Result<Vec<(String, String)>, Refusal> {
    let mut headers = Vec::new();
    for line in lines {
        let (name, value) = line.split_once(':').ok_or_else(|| refuse(400, "a header without a colon"))?;
        // This refuses folded lines and blanks before the colon too, the stuff of request smuggling.
        if name.is_empty() || !name.bytes().all(is_token) {
            return Err(refuse(400, "a header with a bad name"));
        }
        if value.bytes().any(|b| b != b'\t' && b < b' ') {
            return Err(refuse(400, "a header with a control character"));
        }
        if headers.len() == MAX_HEADERS {
            return Err(refuse(431, "too many headers"));
        }
        headers.push((name.to_ascii_lowercase(), value.trim().to_string()));
    }
    Ok(headers)
}

/// HTTP/1.0 has a way to keep a connection too, which no client of ours uses.
fn keep_alive(headers: &[(String, String)], minor: u8) -> bool {
    let close = values(headers, "connection")
        .flat_map(|value| value.split(','))
        .any(|option| option.trim().eq_ignore_ascii_case("close"));
    minor == 1 && !close
}

fn body_length(headers: &[(String, String)]) -> Result<u64, Refusal> {
    if values(headers, "transfer-encoding").next().is_some() {
        return Err(refuse(411, "a body without Content-Length"));
    }
    let mut lengths = values(headers, "content-length");
    let length = match lengths.next() {
        None => 0,
        Some(text) => number(text).ok_or_else(|| refuse(400, "a bad Content-Length"))?,
    };
    match lengths.next() {
        None => Ok(length),
        Some(_) => Err(refuse(400, "two Content-Length headers")),
    }
}

fn values<'a>(headers: &'a [(String, String)], name: &'a str) -> impl Iterator<Item = &'a str> {
    headers.iter().filter(move |(own, _)| own == name).map(|(_, value)| value.as_str())
}

fn path(target: &str) -> Result<Vec<String>, Refusal> {
    let bad = || refuse(400, "a bad path");
    let path = match target.split_once("://") {
        // The absolute form that a proxy sends.
        Some((_, rest)) if !target.starts_with('/') => &rest[rest.find('/').unwrap_or(rest.len())..],
        _ => target,
    };
    let path = path.split(['?', '#']).next().unwrap_or_default();
    let inner = path.strip_prefix('/').ok_or_else(bad)?;
    if inner.is_empty() {
        return Ok(Vec::new());
    }
    let count = inner.split('/').count();
    inner
        .split('/')
        .enumerate()
        .map(|(index, segment)| {
            let segment = percent_decode(segment).ok_or_else(bad)?;
            let empty = segment.is_empty() && index + 1 < count;
            if empty || matches!(segment.as_str(), "." | "..") || segment.contains(['/', '\0']) {
                return Err(bad());
            }
            Ok(segment)
        })
        .collect()
}

fn percent_decode(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
            let value = digit(bytes.next())? * 16 + digit(bytes.next())?;
            out.push(u8::try_from(value).ok()?);
        } else {
            out.push(byte);
        }
    }
    String::from_utf8(out).ok()
}

/// A number of digits only: no sign, no blank.
fn number(text: &str) -> Option<u64> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

fn refuse(status: u16, reason: &'static str) -> Refusal {
    Refusal { status, reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Request, u16> {
        match parse(text.as_bytes()) {
            Ok(Some((request, length))) => {
                assert_eq!(length, text.len());
                Ok(request)
            }
            Ok(None) => panic!("not complete: {text:?}"),
            Err(refusal) => Err(refusal.status),
        }
    }

    #[test]
    fn a_request() {
        let request =
            parsed("GET /repo/1.root.json?x=/.. HTTP/1.1\r\nHost: a\r\nRANGE:  bytes=0-1 \r\n\r\n").unwrap();
        assert_eq!(request.path, ["repo", "1.root.json"]);
        assert_eq!(request.header("range"), Some("bytes=0-1"));
        assert!(request.keep_alive);
        assert_eq!(request.body, 0);
    }

    #[test]
    fn a_request_in_pieces_waits_for_its_end() {
        let text = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        for end in 0..text.len() {
            assert_eq!(parse(&text[..end]), Ok(None), "{end}");
        }
    }

    #[test]
    fn keep_alive_by_version_and_header() {
        for (text, expected) in [
            ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", true),
            ("GET / HTTP/1.1\r\nHost: a\r\nConnection: x, Close\r\n\r\n", false),
            ("GET / HTTP/1.0\r\n\r\n", false),
            ("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", false),
        ] {
            assert_eq!(parsed(text).unwrap().keep_alive, expected, "{text:?}");
        }
    }

    #[test]
    fn bad_requests() {
        for (head, status) in [
            ("GET /", 400),
            ("GET  / HTTP/1.1", 400),
            ("GET / HTTP/2.0", 505),
            ("G(T / HTTP/1.1", 400),
            ("GET repo HTTP/1.1", 400),
            ("GET /../etc/passwd HTTP/1.1", 400),
            ("GET /repo/..%2f..%2fetc HTTP/1.1", 400),
            ("GET /repo/%2e%2e/x HTTP/1.1", 400),
            ("GET /repo//x HTTP/1.1", 400),
            ("GET /repo/%00 HTTP/1.1", 400),
            ("GET /repo/%zz HTTP/1.1", 400),
            ("GET /repo/%+1 HTTP/1.1", 400),
            ("GET /repo/%ff HTTP/1.1", 400),
            ("GET / HTTP/1.1\r\nno colon", 400),
            ("GET / HTTP/1.1\r\nA : b", 400),
            ("GET / HTTP/1.1\r\n folded: b", 400),
            ("GET / HTTP/1.1\r\nContent-Length: +1", 400),
            ("GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1", 400),
            ("GET / HTTP/1.1\r\nTransfer-Encoding: chunked", 411),
        ] {
            let text = format!("{head}\r\nHost: a\r\n\r\n");
            assert_eq!(parsed(&text), Err(status), "{head:?}");
        }
        assert_eq!(parsed("GET / HTTP/1.1\r\n\r\n"), Err(400), "no Host");
        let long = vec![b'a'; MAX_HEAD];
        assert_eq!(parse(&long).unwrap_err().status, 431);
    }

    #[test]
    fn ranges() {
        for (header, length, expected) in [
            ("bytes=0-0", 10, Ok(Some((0, 1)))),
            ("bytes=3-", 10, Ok(Some((3, 7)))),
            ("bytes=3-99", 10, Ok(Some((3, 7)))),
            ("bytes=-4", 10, Ok(Some((6, 4)))),
            ("bytes=-40", 10, Ok(Some((0, 10)))),
            ("bytes=10-", 10, Err(416)),
            ("bytes=-0", 10, Err(416)),
            ("bytes=0-", 0, Err(416)),
            ("bytes=-1", 0, Err(416)),
            ("bytes=5-3", 10, Ok(None)),
            ("bytes=0-1,3-4", 10, Ok(None)),
            ("lines=0-1", 10, Ok(None)),
            ("bytes=x-4", 10, Ok(None)),
        ] {
            let got = range(Some(header), length).map_err(|refusal| refusal.status);
            assert_eq!(got, expected, "{header} of {length}");
        }
    }
}
