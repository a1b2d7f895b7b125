//! Canonical JSON, and the check that a document is JSON of the subset that can be signed.
//!
//! One pass over the received bytes writes the canonical form and refuses what two parsers could read
//! differently: a key that comes twice, numbers that are not 64-bit integers, bytes that are not UTF-8,
//! deep nesting (127 levels, by serde_json) and bytes after the document.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// How strings are written. Both forms sort keys by bytes and leave no spaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// OLPC canonical JSON, TUF 4.1: only `"` and `\` are escaped, all else is raw UTF-8.
    Olpc,
    /// What aktualizr's servers sign: ASCII only, as `json.dumps(sort_keys=True)` writes it.
    /// It differs from OLPC wherever a string holds a newline, so in every PEM key.
    Ascii,
}

/// The canonical form of a document.
#[derive(Debug)]
pub struct Canonical {
    bytes: Vec<u8>,
    signed: Option<Range<usize>>,
}

impl Canonical {
    /// Checks a document and writes its canonical form.
    pub fn new(document: &[u8], form: Form) -> Result<Canonical, serde_json::Error> {
        let mut writer = Writer { form, out: Vec::with_capacity(document.len()), signed: None };
        let mut json = serde_json::Deserializer::from_slice(document);
        Value { writer: &mut writer, top: true }.deserialize(&mut json)?;
        json.end()?;
        Ok(Canonical { bytes: writer.out, signed: writer.signed })
    }

    /// The canonical form of the whole document.
    pub fn document(&self) -> &[u8] {
        &self.bytes
    }

    /// The canonical form of the member `signed` of the document: what signatures are made over.
    pub fn signed(&self) -> Option<&[u8]> {
        self.bytes.get(self.signed.clone()?)
    }
}

struct Writer {
    form: Form,
    out: Vec<u8>,
    signed: Option<Range<usize>>,
}

/// One value of the document; its canonical form is appended to the writer.
struct Value<'w> {
    writer: &'w mut Writer,
    top: bool,
}

/// A member of an object: its key, unescaped, and where `"key":value` is in the output.
struct Member<'de> {
    key: Cow<'de, str>,
    range: Range<usize>,
}

impl<'de> DeserializeSeed<'de> for Value<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Value<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON without fractions")
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.writer.raw(b"null")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        self.writer.raw(if value { b"true" } else { b"false" })
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        self.writer.raw(value.to_string().as_bytes())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        self.writer.raw(value.to_string().as_bytes())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        // A fraction, as `json.dumps` and servers of the ATS dialect write it; OLPC has none. Integers that are too large
        // come here too, and so does -0, which each parser takes for another number.
        if self.writer.form == Form::Ascii && value.abs() < 1e15 && (value != 0.0 || value.is_sign_positive())
        {
            return self.writer.raw(serde_json::json!(value).to_string().as_bytes());
        }
        Err(E::custom(format_args!("the number {value} is not a 64-bit integer")))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<(), E> {
        self.writer.string(value);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        self.writer.out.push(b'[');
        let first = self.writer.out.len();
        loop {
            let before = self.writer.out.len();
            if before > first {
                self.writer.out.push(b',');
            }
            if items.next_element_seed(Value { writer: self.writer, top: false })?.is_none() {
                self.writer.out.truncate(before);
                break;
            }
        }
        self.writer.out.push(b']');
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        self.writer.out.push(b'{');
        let start = self.writer.out.len();
        let mut members: Vec<Member<'de>> = Vec::new();
        while let Some(key) = map.next_key_seed(Key)? {
            if !members.is_empty() {
                self.writer.out.push(b',');
            }
            let from = self.writer.out.len();
            self.writer.string(&key);
            self.writer.out.push(b':');
            let value_from = self.writer.out.len();
            map.next_value_seed(Value { writer: self.writer, top: false })?;
            let to = self.writer.out.len();
            if self.top && key == "signed" {
                self.writer.signed = Some(value_from..to);
            }
            members.push(Member { key, range: from..to });
        }
        self.writer.sort(start, members, self.top)?;
        self.writer.out.push(b'}');
        Ok(())
    }
}

impl Writer {
    fn raw<E>(&mut self, text: &[u8]) -> Result<(), E> {
        self.out.extend_from_slice(text);
        Ok(())
    }

    fn string(&mut self, text: &str) {
        self.out.push(b'"');
        match self.form {
            Form::Olpc => self.olpc_string(text),
            Form::Ascii => self.ascii_string(text),
        }
        self.out.push(b'"');
    }

    fn olpc_string(&mut self, text: &str) {
        for &byte in text.as_bytes() {
            if matches!(byte, b'"' | b'\\') {
                self.out.push(b'\\');
            }
            self.out.push(byte);
        }
    }

    fn ascii_string(&mut self, text: &str) {
        for character in text.chars() {
            let short = match character {
                '"' => b'"',
                '\\' => b'\\',
                '\u{8}' => b'b',
                '\u{c}' => b'f',
                '\n' => b'n',
                '\r' => b'r',
                '\t' => b't',
                ' '..='\u{7f}' => {
                    self.out.push(character as u8);
                    continue;
                }
                _ => {
                    let mut units = [0; 2];
                    for unit in character.encode_utf16(&mut units) {
                        self.out.extend_from_slice(format!("\\u{unit:04x}").as_bytes());
                    }
                    continue;
                }
            };
            self.out.extend_from_slice(&[b'\\', short]);
        }
    }

    /// Puts the members of the object that begins at `start` in order of their keys.
    ///
    /// Repositories mostly write them sorted, and then nothing is copied.
    fn sort<E: Error>(&mut self, start: usize, mut members: Vec<Member<'_>>, top: bool) -> Result<(), E> {
        if members.is_sorted_by(|a, b| a.key < b.key) {
            return Ok(());
        }
        members.sort_by(|a, b| a.key.cmp(&b.key));
        if let Some(key) = first_duplicate(&members) {
            return Err(E::custom(format_args!("the key {key:?} comes twice in one object")));
        }
        let unsorted = self.out.split_off(start);
        for Member { key, range } in members {
            if self.out.len() > start {
                self.out.push(b',');
            }
            let from = self.out.len();
            let moved = range.start - start..range.end - start;
            self.out.extend_from_slice(unsorted.get(moved).unwrap_or_default());
            if top && key == "signed" {
                let length = self.signed.as_ref().map_or(0, |signed| signed.len());
                self.signed = Some(from + (range.len() - length)..self.out.len());
            }
        }
        Ok(())
    }
}

fn first_duplicate<'m>(sorted: &'m [Member<'_>]) -> Option<&'m str> {
    sorted.windows(2).find_map(|pair| match pair {
        [a, b] if a.key == b.key => Some(a.key.as_ref()),
        _ => None,
    })
}

/// A key of an object, borrowed where the document has it without escapes.
struct Key;

impl<'de> DeserializeSeed<'de> for Key {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Key {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_borrowed_str<E: Error>(self, key: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(key))
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(key.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(document: &str, form: Form) -> Result<String, String> {
        let canonical = Canonical::new(document.as_bytes(), form).map_err(|e| e.to_string())?;
        Ok(String::from_utf8(canonical.document().to_vec()).unwrap())
    }

    #[test]
    fn writes_both_forms() {
        let table = [
            (r#" { } "#, "{}", "{}"),
            (
                "[ 1 , -2,[],{},null,true,false]",
                "[1,-2,[],{},null,true,false]",
                "[1,-2,[],{},null,true,false]",
            ),
            (
                r#"{"b":1,"a":{"d":[2],"c":3}}"#,
                r#"{"a":{"c":3,"d":[2]},"b":1}"#,
                r#"{"a":{"c":3,"d":[2]},"b":1}"#,
            ),
            (r#"{"aa":1,"a":2,"A":3}"#, r#"{"A":3,"a":2,"aa":1}"#, r#"{"A":3,"a":2,"aa":1}"#),
            (
                r#""a\/\"\\\n\u00e9\u001f\u007f""#,
                "\"a/\\\"\\\\\né\u{1f}\u{7f}\"",
                "\"a/\\\"\\\\\\n\\u00e9\\u001f\u{7f}\"",
            ),
            (r#""😀\b\f\r\t""#, "\"😀\u{8}\u{c}\r\t\"", r#""\ud83d\ude00\b\f\r\t""#),
            // Keys are sorted as they read, not as they are escaped: `"` is before `a`, `\"` would be after `A`.
            (r#"{"A":1,"\"":2}"#, r#"{"\"":2,"A":1}"#, r#"{"\"":2,"A":1}"#),
            ("18446744073709551615", "18446744073709551615", "18446744073709551615"),
            ("-9223372036854775808", "-9223372036854775808", "-9223372036854775808"),
        ];
        for (document, olpc, ascii) in table {
            assert_eq!(form(document, Form::Olpc).as_deref(), Ok(olpc), "{document}");
            assert_eq!(form(document, Form::Ascii).as_deref(), Ok(ascii), "{document}");
        }
    }

    #[test]
    fn fractions_are_written_in_the_ascii_form_only() {
        for (document, ascii) in
            [("1.5", "1.5"), ("[0.1,-2.0]", "[0.1,-2.0]"), ("1e2", "100.0"), ("0.0", "0.0")]
        {
            assert_eq!(form(document, Form::Ascii).as_deref(), Ok(ascii), "{document}");
            assert!(form(document, Form::Olpc).unwrap_err().contains("not a 64-bit integer"), "{document}");
        }
        for document in ["-0", "18446744073709551616", "-9223372036854775809", "1e300"] {
            assert!(form(document, Form::Ascii).unwrap_err().contains("not a 64-bit integer"), "{document}");
        }
    }

    #[test]
    fn finds_what_is_signed() {
        for document in [
            r#"{"signatures":[{"sig":""}],"signed":{"b":{"signed":0},"a":1}}"#,
            r#"{"signed":{"b":{"signed":0},"a":1},"signatures":[{"sig":""}]}"#,
            r#"{"zz":0,"signed":{"b":{"signed":0},"a":1},"aa":{"signed":7},"signatures":[]}"#,
        ] {
            let canonical = Canonical::new(document.as_bytes(), Form::Olpc).unwrap();
            assert_eq!(canonical.signed(), Some(&br#"{"a":1,"b":{"signed":0}}"#[..]), "{document}");
        }
        assert_eq!(Canonical::new(br#"{"a":{"signed":1}}"#, Form::Olpc).unwrap().signed(), None);
    }

    #[test]
    fn refuses_what_cannot_be_signed() {
        let deep = "[".repeat(200) + &"]".repeat(200);
        for (document, complaint) in [
            ("1.5", "not a 64-bit integer"),
            ("5.0", "not a 64-bit integer"),
            ("1e2", "not a 64-bit integer"),
            ("-0", "not a 64-bit integer"),
            ("18446744073709551616", "not a 64-bit integer"),
            (r#"{"a":1,"a":1}"#, "comes twice"),
            (r#"{"a":1,"b":2,"\u0061":1}"#, "comes twice"),
            (r#"{"x":[{"a":1,"c":2,"a":1}]}"#, "comes twice"),
            ("{} {}", "trailing"),
            ("{}\0", "trailing"),
            (r#""\ud800""#, "hex escape"),
            ("\u{feff}{}", "expected value"),
            ("// x\n{}", "expected value"),
            ("[1,]", "trailing comma"),
            ("NaN", "expected"),
            ("", "EOF"),
            (deep.as_str(), "recursion limit"),
        ] {
            let error = form(document, Form::Olpc).unwrap_err();
            assert!(error.contains(complaint), "{document}: {error}");
        }
        assert!(Canonical::new(b"\"\xff\"", Form::Olpc).is_err());
        assert!(Canonical::new(b"{\"\xc3\x28\":1}", Form::Olpc).is_err());
    }
}
