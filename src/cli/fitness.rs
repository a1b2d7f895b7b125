//! `rust-ota takeover` and `rust-ota config check`: what works on a device, what does not, and what to do.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::exit;
use crate::agent::fitness::{Finding, Level, Scope, programs, units};
use crate::agent::{Agent, AgentError};
use crate::config::{ConfigError, DEFAULT_PATHS, load, load_below};

/// What to look at.
#[derive(Debug, Clone, Copy)]
pub enum Look<'a> {
    /// This device, before it changes its client.
    Device,
    /// The root folder of a device or an image.
    Folder(&'a Path),
    /// Its configuration and certificates.
    Configuration,
}

/// Prints what was found and returns the exit code: 0 if all of it works.
pub fn check(paths: &[PathBuf], look: Look<'_>, as_json: bool) -> u8 {
    let findings = findings(paths, look).unwrap_or_else(|error| {
        vec![Finding { level: Level::Problem, subject: "configuration", text: error.to_string() }]
    });
    print!("{}", if as_json { json_of(&findings) } else { text_of(&findings) });
    if works(&findings) { exit::OK } else { exit::ERROR }
}

/// Takes over the old client's state now, as the first command that needs it would.
pub fn take_over(agent: &Agent) -> Result<u8, AgentError> {
    let note = agent.locked("takeover")?.taken_over()?;
    println!("{}", note.unwrap_or_else(|| "there is nothing to take over".to_string()));
    Ok(exit::OK)
}

fn findings(paths: &[PathBuf], look: Look<'_>) -> Result<Vec<Finding>, ConfigError> {
    let (loaded, scope) = match look {
        Look::Device => (load(paths)?, Scope::Device),
        Look::Configuration => (load(paths)?, Scope::Configuration),
        Look::Folder(root) if !root.is_dir() => {
            let text =
                format!("{}: not a folder; name the root folder of a device or an image", root.display());
            return Ok(vec![Finding { level: Level::Problem, subject: "configuration", text }]);
        }
        Look::Folder(root) if paths.is_empty() => (load_below(root, &below(root))?, Scope::Files),
        Look::Folder(root) => (load_below(root, paths)?, Scope::Files),
    };
    let (merged, settings) = loaded;
    let mode = settings.rollback_mode;
    let mut findings = Agent::new(settings).fitness(&merged, scope);
    match look {
        Look::Device => findings.extend(units(Path::new("/"))),
        Look::Folder(root) => {
            findings.extend(programs(root, mode));
            findings.extend(units(root));
        }
        Look::Configuration => {}
    }
    Ok(findings)
}

fn below(root: &Path) -> Vec<PathBuf> {
    let paths = DEFAULT_PATHS.iter().map(|path| root.join(path.trim_start_matches('/')));
    paths.filter(|path| path.exists()).collect()
}

fn works(findings: &[Finding]) -> bool {
    findings.iter().all(|finding| finding.level != Level::Problem)
}

fn text_of(findings: &[Finding]) -> String {
    let mut text = String::new();
    for Finding { level, subject, text: found } in findings {
        text.push_str(&format!("{:<8} {subject}: {found}\n", level.name()));
    }
    let problems = findings.iter().filter(|f| f.level == Level::Problem).count();
    text.push_str(&match problems {
        0 => "this client will work here\n".to_string(),
        1 => "1 problem: this client will not work here yet\n".to_string(),
        _ => format!("{problems} problems: this client will not work here yet\n"),
    });
    text
}

fn json_of(findings: &[Finding]) -> String {
    let list: Vec<_> = findings
        .iter()
        .map(|f| json!({"level": f.level.name().to_ascii_lowercase(), "subject": f.subject, "text": f.text}))
        .collect();
    format!("{:#}\n", json!({"works": works(findings), "findings": list}))
}
