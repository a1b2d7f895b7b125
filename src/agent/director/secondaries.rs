//! Other ECUs behind this one. None are driven yet: a device that has some must not be half updated in silence.

use serde_json::Value;

use super::super::AgentError;
use crate::config::Settings;
use crate::store::atomic;

/// An error where the configuration names a Secondary.
pub fn refuse(settings: &Settings) -> Result<(), AgentError> {
    let Some(path) = &settings.director.secondaries else { return Ok(()) };
    let refused = |reason: String| AgentError::Secondaries { path: path.clone(), reason };
    let bytes = atomic::read(path)?.ok_or_else(|| refused("it is not there".to_string()))?;
    let named: Value = serde_json::from_slice(&bytes).map_err(|e| refused(format!("not JSON: {e}")))?;
    let kinds = named.as_object().ok_or_else(|| refused("not an object".to_string()))?;
    match kinds.iter().find(|(_, list)| !is_empty(list)) {
        Some((kind, _)) => Err(refused(format!("it names {kind} Secondaries, which are not supported"))),
        None => Ok(()),
    }
}

/// `"virtual": []`, or `"IP": {"secondaries_wait_port": 9040, "secondaries": []}`.
fn is_empty(list: &Value) -> bool {
    let list = list.get("secondaries").unwrap_or(list);
    list.as_array().is_some_and(Vec::is_empty) || list.as_object().is_some_and(serde_json::Map::is_empty)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_empty_list_is_taken() {
        let empty = |text: &str| is_empty(&serde_json::from_str(text).unwrap());
        assert!(empty("[]") && empty("{}") && empty(r#"{"secondaries": []}"#));
        assert!(!empty("[{}]") && !empty(r#"{"secondaries": [{"addr": "10.0.3.2:9050"}]}"#) && !empty("7"));
    }
}
