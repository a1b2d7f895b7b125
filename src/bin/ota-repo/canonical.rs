//! The two canonical forms of JSON that signatures and key ids are computed over.

use serde_json::Value;

use crate::error::Error;
use crate::metadata::Profile;

/// The bytes that a signature of this profile covers.
pub fn canonical(profile: Profile, value: &Value) -> Result<Vec<u8>, Error> {
    let mut out = Vec::new();
    write(profile, value, &mut out)?;
    Ok(out)
}

fn write(profile: Profile, value: &Value, out: &mut Vec<u8>) -> Result<(), Error> {
    match value {
        Value::Null => out.extend(b"null"),
        Value::Bool(true) => out.extend(b"true"),
        Value::Bool(false) => out.extend(b"false"),
        Value::Number(number) if number.is_f64() => {
            return Err(Error::Canonical {
                detail: format!("{number} is no whole number, and signed metadata has no others"),
            });
        }
        Value::Number(number) => out.extend(number.to_string().bytes()),
        Value::String(text) => string(profile, text, out),
        Value::Array(items) => {
            out.push(b'[');
            for (index, item) in items.iter().enumerate() {
                comma(index, out);
                write(profile, item, out)?;
            }
            out.push(b']');
        }
        // serde_json keeps an object's names in byte order, which is the order that both forms ask for.
        Value::Object(members) => {
            out.push(b'{');
            for (index, (name, member)) in members.iter().enumerate() {
                comma(index, out);
                string(profile, name, out);
                out.push(b':');
                write(profile, member, out)?;
            }
            out.push(b'}');
        }
    }
    Ok(())
}

fn comma(index: usize, out: &mut Vec<u8>) {
    if index > 0 {
        out.push(b',');
    }
}

fn string(profile: Profile, text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    match profile {
        Profile::Tuf => raw_string(text, out),
        Profile::Ats => ascii_string(text, out),
    }
    out.push(b'"');
}

/// TUF 1.0 (OLPC): only the quote and the backslash are escaped, all else is raw UTF-8, a newline too.
fn raw_string(text: &str, out: &mut Vec<u8>) {
    for byte in text.bytes() {
        if matches!(byte, b'"' | b'\\') {
            out.push(b'\\');
        }
        out.push(byte);
    }
}

/// ATS: what the compact JSON writers of those servers give, ASCII only.
fn ascii_string(text: &str, out: &mut Vec<u8>) {
    for character in text.chars() {
        match character {
            '"' => out.extend(b"\\\""),
            '\\' => out.extend(b"\\\\"),
            '\n' => out.extend(b"\\n"),
            '\r' => out.extend(b"\\r"),
            '\t' => out.extend(b"\\t"),
            '\u{8}' => out.extend(b"\\b"),
            '\u{c}' => out.extend(b"\\f"),
            ' '..='\u{7f}' => out.push(character as u8),
            _ => {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    out.extend(format!("\\u{unit:04x}").bytes());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_forms() {
        let value = serde_json::json!({"b": [1, true, null], "a": "\"\\/\n\u{7f}é\u{1f600}", "": {}});
        let text = |profile| String::from_utf8(canonical(profile, &value).unwrap()).unwrap();
        assert_eq!(text(Profile::Tuf), "{\"\":{},\"a\":\"\\\"\\\\/\n\u{7f}é\u{1f600}\",\"b\":[1,true,null]}");
        assert_eq!(
            text(Profile::Ats),
            "{\"\":{},\"a\":\"\\\"\\\\/\\n\u{7f}\\u00e9\\ud83d\\ude00\",\"b\":[1,true,null]}"
        );
    }

    #[test]
    fn a_fraction_is_refused() {
        let value = serde_json::json!({"a": 1.5});
        assert!(canonical(Profile::Tuf, &value).is_err());
    }
}
