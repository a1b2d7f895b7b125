//! What a vehicle tells its Director: who it is, what runs on it, and what became of an assignment.
//!
//! Pure: the key signs through a function that is given.

use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::tuf::canonical::{Canonical, Form};

/// A signature of a report.
#[derive(Debug, Clone, Serialize)]
pub struct Signature {
    /// Id of the key.
    pub keyid: String,
    /// `ed25519` or `rsassa-pss`.
    pub method: &'static str,
    /// Base64.
    pub sig: String,
}

/// An ECU as it is registered.
#[derive(Debug, Clone)]
pub struct Registrant<'a> {
    /// Its serial.
    pub serial: &'a str,
    /// Its hardware id.
    pub hardware_id: &'a str,
    /// `ED25519` or `RSA`.
    pub key_type: &'a str,
    /// Its public key.
    pub public: &'a str,
}

/// What one ECU says of itself.
#[derive(Debug, Clone)]
pub struct EcuReport<'a> {
    /// Its serial.
    pub serial: &'a str,
    /// Name of the Target that runs.
    pub filepath: &'a str,
    /// Its length; 0 of an OSTree commit.
    pub length: u64,
    /// Its SHA-256, or the commit.
    pub sha256: &'a str,
    /// Counts reports.
    pub counter: u64,
    /// What was wrong with what the servers sent; empty when nothing was.
    pub attacks: &'a str,
}

/// What became of an assignment.
#[derive(Debug, Clone)]
pub struct InstallationReport<'a> {
    /// As the Director gave it.
    pub correlation_id: &'a str,
    /// Whether all of it worked.
    pub success: bool,
    /// A result code.
    pub code: &'a str,
    /// For a person.
    pub description: &'a str,
    /// The ECUs that it is about.
    pub items: Vec<EcuOutcome<'a>>,
}

/// What one ECU came to.
#[derive(Debug, Clone)]
pub struct EcuOutcome<'a> {
    /// Its serial.
    pub serial: &'a str,
    /// Whether it has what was assigned.
    pub success: bool,
    /// A result code.
    pub code: &'a str,
    /// For a person.
    pub description: &'a str,
}

type Sign<'s, E> = dyn Fn(&[u8]) -> Result<Signature, E> + 's;

/// Servers of this protocol tell reports apart by this text.
const CONTENT_TYPE: &str = "application/vnd.com.here.otac.installationReport.v1";
/// There is no time server in this dialect; the fields have to be there.
const NO_TIME: &str = "1970-01-01T00:00:00Z";

/// The body of the registration: the Primary is the first of the ECUs.
pub fn registration(ecus: &[Registrant<'_>]) -> Value {
    let list: Vec<Value> = ecus
        .iter()
        .map(|ecu| {
            json!({
                "ecu_serial": ecu.serial,
                "hardware_identifier": ecu.hardware_id,
                "clientKey": {"keytype": ecu.key_type, "keyval": {"public": ecu.public}},
            })
        })
        .collect();
    json!({"primary_ecu_serial": ecus.first().map(|ecu| ecu.serial), "ecus": list})
}

/// What an ECU says, signed by its key.
pub fn ecu_manifest<E>(ecu: &EcuReport<'_>, sign: &Sign<'_, E>) -> Result<Value, E> {
    let body = json!({
        "attacks_detected": ecu.attacks,
        "ecu_serial": ecu.serial,
        "installed_image": {
            "filepath": ecu.filepath,
            "fileinfo": {"length": ecu.length, "hashes": {"sha256": ecu.sha256}},
        },
        "previous_timeserver_time": NO_TIME,
        "timeserver_time": NO_TIME,
        // A number in quotes: that is what servers parse.
        "report_counter": ecu.counter.to_string(),
    });
    signed(&body, sign)
}

/// What the vehicle says, signed by the key of the Primary: each ECU's own word, and what became of an assignment.
pub fn vehicle_manifest<E>(
    primary: &str,
    ecus: Vec<(String, Value)>,
    result: Option<&InstallationReport<'_>>,
    sign: &Sign<'_, E>,
) -> Result<Value, E> {
    let manifests: Map<String, Value> = ecus.into_iter().collect();
    let mut body = json!({"primary_ecu_serial": primary, "ecu_version_manifests": manifests});
    if let Some(result) = result {
        body["installation_report"] = json!({"content_type": CONTENT_TYPE, "report": installation(result)});
    }
    signed(&body, sign)
}

fn installation(report: &InstallationReport<'_>) -> Value {
    let result = json!({"success": report.success, "code": report.code, "description": report.description});
    let item = |ecu: &EcuOutcome<'_>| {
        let own = json!({"success": ecu.success, "code": ecu.code, "description": ecu.description});
        json!({"ecu": ecu.serial, "result": own})
    };
    let items: Vec<Value> = report.items.iter().map(item).collect();
    json!({
        "correlation_id": report.correlation_id,
        "result": result,
        "raw_report": report.description,
        "items": items,
    })
}

/// A value with a signature over its canonical form.
pub fn signed<E>(body: &Value, sign: &Sign<'_, E>) -> Result<Value, E> {
    let signature = sign(&canonical(body))?;
    Ok(json!({"signatures": [signature], "signed": body}))
}

/// As it is signed, and as it is sent.
pub fn canonical(value: &Value) -> Vec<u8> {
    // Nothing here can fail: the values are made above, of texts and whole numbers, a few levels deep.
    let bytes = serde_json::to_vec(value).unwrap_or_default();
    Canonical::new(&bytes, Form::Ascii).map(|c| c.document().to_vec()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sign(message: &[u8]) -> Result<Signature, ()> {
        Ok(Signature { keyid: "k".into(), method: "ed25519", sig: String::from_utf8_lossy(message).into() })
    }

    #[test]
    fn as_the_protocol_has_it() {
        let ecu =
            EcuReport { serial: "S", filepath: "board-1", length: 0, sha256: "ab", counter: 7, attacks: "" };
        let own = ecu_manifest(&ecu, &sign).unwrap();
        assert_eq!(
            own["signatures"][0]["sig"],
            r#"{"attacks_detected":"","ecu_serial":"S","installed_image":{"fileinfo":{"hashes":{"sha256":"ab"},"length":0},"filepath":"board-1"},"previous_timeserver_time":"1970-01-01T00:00:00Z","report_counter":"7","timeserver_time":"1970-01-01T00:00:00Z"}"#
        );
        let item = EcuOutcome {
            serial: "S",
            success: false,
            code: "INSTALL_FAILED",
            description: "Wrong version booted",
        };
        let result = InstallationReport {
            correlation_id: "c",
            success: false,
            code: "INSTALL_FAILED",
            description: "Wrong version booted",
            items: vec![item],
        };
        let whole = vehicle_manifest("S", vec![("S".into(), own.clone())], Some(&result), &sign).unwrap();
        let body = &whole["signed"];
        assert_eq!(body["ecu_version_manifests"]["S"], own);
        assert_eq!(body["installation_report"]["content_type"], CONTENT_TYPE);
        let report = &body["installation_report"]["report"];
        assert_eq!(report["correlation_id"], "c");
        assert_eq!(report["items"][0]["result"], report["result"]);
        assert_eq!(report["result"]["success"], false);
        let without = vehicle_manifest("S", vec![], None, &sign).unwrap();
        assert!(without["signed"].get("installation_report").is_none());
    }

    #[test]
    fn what_is_signed_is_ascii() {
        assert_eq!(canonical(&json!({"ä": "\n"})), br#"{"\u00e4":"\n"}"#);
    }
}
