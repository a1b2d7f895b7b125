//! The facts in the tables, by every schema from 0 to 25. Pure.

use super::NEWEST_SCHEMA;
use crate::sqlite::{Database, Row, SqliteError, Table};

/// All of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OldState {
    /// Version of the schema.
    pub schema: i64,
    /// The id of the device.
    pub device_id: Option<String>,
    /// The servers know the ECUs.
    pub registered: bool,
    /// The Primary first.
    pub ecus: Vec<OldEcu>,
    /// The Primary's private key: PEM, or hex of an Ed25519 key.
    pub key: Option<Vec<u8>>,
    /// Authorities of the servers, PEM.
    pub ca: Option<Vec<u8>>,
    /// The device's certificate, PEM.
    pub certificate: Option<Vec<u8>>,
    /// Its private key, PEM. None where it is in a token.
    pub tls_key: Option<Vec<u8>>,
    /// What the Primary had installed, or tried to, oldest first.
    pub versions: Vec<OldVersion>,
    /// Trusted metadata; roots by their version.
    pub metadata: Vec<OldMetadata>,
    /// Number of the Primary's last report.
    pub counter: i64,
    /// What the Director has not been told.
    pub result: Option<OldResult>,
    /// What the server has not been told: each a JSON object.
    pub events: Vec<String>,
}

/// An ECU that was registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OldEcu {
    /// Its serial.
    pub serial: String,
    /// Its hardware id.
    pub hardware_id: String,
    /// Whether it is the Primary.
    pub primary: bool,
}

/// A line of the log of installations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OldVersion {
    /// The Target's name.
    pub name: String,
    /// SHA-256 in lower-case hex: of an OSTree Target its commit.
    pub sha256: String,
    /// What reports about it carry; empty where there is nothing.
    pub correlation_id: String,
    /// It is what runs, by the log.
    pub current: bool,
    /// It waits for its boot.
    pub pending: bool,
    /// It ran once.
    pub installed: bool,
    /// `custom` of the Target, JSON; empty where there is none.
    pub custom: String,
}

/// A file of trusted metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OldMetadata {
    /// Of the Director; otherwise of the Image repository.
    pub director: bool,
    /// `root`, `timestamp`, `snapshot` or `targets`.
    pub role: &'static str,
    /// As it was received.
    pub bytes: Vec<u8>,
}

/// What an installation came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OldResult {
    /// As the Director gave it.
    pub correlation_id: String,
    /// Whether it is good.
    pub success: bool,
    /// A result code.
    pub code: String,
    /// For a person.
    pub description: String,
}

/// Why the tables are not those of the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unreadable {
    /// The file.
    Sqlite(SqliteError),
    /// What it has in it.
    Schema(String),
}

impl From<SqliteError> for Unreadable {
    fn from(error: SqliteError) -> Unreadable {
        Unreadable::Sqlite(error)
    }
}

impl OldState {
    /// Reads the tables; none where there is no table at all, as before the client's first run.
    pub fn of(database: &Database<'_>) -> Result<Option<OldState>, Unreadable> {
        let Some(versions) = database.table("version")? else {
            return match database.table("device_info")? {
                Some(_) => Err(Unreadable::Schema("it has no table with its version".to_string())),
                None => Ok(None),
            };
        };
        let schema = versions.rows().last().map_or(-1, |row| row.get("version").integer());
        if !(0..=NEWEST_SCHEMA).contains(&schema) {
            return Err(Unreadable::Schema(format!(
                "its schema is {schema}; 0 to {NEWEST_SCHEMA} are known"
            )));
        }
        let table = |name: &str| Ok::<_, Unreadable>(database.table(name)?.unwrap_or_default());
        // Schema 23 gave it another name.
        let ecus = if schema < 23 { table("ecu_serials")? } else { table("ecus")? };
        let mut state = OldState { schema, ecus: ecus_of(&ecus), ..OldState::default() };
        state.device(&table("device_info")?, &table("primary_keys")?, &table("tls_creds")?);
        state.versions = state.versions_of(&table("installed_versions")?);
        state.metadata = metadata_of(&table("meta")?);
        state.reports(
            &table("ecu_report_counter")?,
            &table("device_installation_result")?,
            &table("report_events")?,
        );
        Ok(Some(state))
    }

    /// The Primary.
    pub fn primary(&self) -> Option<&OldEcu> {
        self.ecus.first().filter(|ecu| ecu.primary)
    }

    /// Whether it has a root of the Director, or of the Image repository.
    pub fn has_root(&self, director: bool) -> bool {
        self.metadata.iter().any(|file| file.director == director && file.role == "root")
    }

    /// Whether it has a certificate of this device and the key to it.
    pub fn has_certificate(&self) -> bool {
        self.certificate.is_some() && self.tls_key.is_some()
    }

    fn device(&mut self, info: &Table, keys: &Table, tls: &Table) {
        if let Some(row) = info.rows().next() {
            self.device_id = text(&row, "device_id");
            self.registered = row.get("is_registered").integer() == 1;
        }
        self.key = keys.rows().next().and_then(|row| bytes(&row, "private"));
        if let Some(row) = tls.rows().next() {
            self.ca = bytes(&row, "ca_cert");
            self.certificate = bytes(&row, "client_cert");
            self.tls_key = bytes(&row, "client_pkey");
        }
    }

    /// Until schema 12 the log was of the Primary alone. Who had no ECU yet wrote an empty serial.
    fn versions_of(&self, log: &Table) -> Vec<OldVersion> {
        let serial = self.primary().map(|ecu| ecu.serial.as_str());
        let of_primary = |row: &Row<'_>| {
            let of = row.get("ecu_serial").text().unwrap_or_default();
            !log.has("ecu_serial") || of.is_empty() || serial.is_none_or(|serial| serial == of)
        };
        log.rows().filter(of_primary).filter_map(|row| version_of(log, &row)).collect()
    }

    fn reports(&mut self, counters: &Table, results: &Table, events: &Table) {
        let serial = self.primary().map(|ecu| ecu.serial.clone());
        let own = counters.rows().filter(|row| text(row, "ecu_serial") == serial);
        self.counter = own.map(|row| row.get("counter").integer()).max().unwrap_or(0);
        self.result = results.rows().next().and_then(|row| {
            Some(OldResult {
                correlation_id: text(&row, "correlation_id")?,
                success: row.get("success").integer() == 1,
                code: text(&row, "result_code").unwrap_or_default(),
                description: text(&row, "description").unwrap_or_default(),
            })
        });
        self.events = events.rows().filter_map(|row| text(&row, "json_string")).collect();
    }
}

fn ecus_of(table: &Table) -> Vec<OldEcu> {
    let ecu = |row: Row<'_>| {
        Some(OldEcu {
            serial: text(&row, "serial")?,
            hardware_id: text(&row, "hardware_id")?,
            primary: row.get("is_primary").integer() == 1,
        })
    };
    let mut ecus: Vec<OldEcu> = table.rows().filter_map(ecu).collect();
    ecus.sort_by_key(|ecu| !ecu.primary);
    ecus
}

fn version_of(log: &Table, row: &Row<'_>) -> Option<OldVersion> {
    // Until schema 12 the hash had another name; until 19 only what was installed was written.
    let sha256 = text(row, if log.has("sha256") { "sha256" } else { "hash" })?;
    let is = |column: &str| row.get(column).integer() == 1;
    Some(OldVersion {
        name: text(row, "name")?,
        sha256: sha256.to_ascii_lowercase(),
        correlation_id: text(row, "correlation_id").unwrap_or_default(),
        current: is("is_current"),
        pending: is("is_pending"),
        installed: is("is_current")
            || if log.has("was_installed") { is("was_installed") } else { !is("is_pending") },
        custom: text(row, "custom_meta").unwrap_or_default(),
    })
}

/// By schema 6 each file had a row of its own; before that there was one row with all of them.
fn metadata_of(table: &Table) -> Vec<OldMetadata> {
    if !table.has("meta_type") {
        let one = |row: &Row<'_>, director: bool, role| {
            let repository = if director { "director" } else { "image" };
            Some(OldMetadata { director, role, bytes: bytes(row, &format!("{repository}_{role}"))? })
        };
        let files = [
            (false, "root"),
            (false, "timestamp"),
            (false, "snapshot"),
            (false, "targets"),
            (true, "root"),
            (true, "targets"),
        ];
        let row = table.rows().next();
        return row
            .map_or_else(Vec::new, |row| files.iter().filter_map(|(d, role)| one(&row, *d, role)).collect());
    }
    let mut rows: Vec<(i64, OldMetadata)> = table
        .rows()
        .filter_map(|row| {
            let role = usize::try_from(row.get("meta_type").integer()).ok();
            let role = role.and_then(|role| ["root", "snapshot", "targets", "timestamp"].get(role))?;
            let director = row.get("repo").integer() == 1;
            Some((row.get("version").integer(), OldMetadata { director, role, bytes: bytes(&row, "meta")? }))
        })
        .collect();
    rows.sort_by_key(|(version, _)| *version);
    rows.into_iter().map(|(_, file)| file).collect()
}

fn text(row: &Row<'_>, column: &str) -> Option<String> {
    row.get(column).text().filter(|text| !text.is_empty()).map(str::to_string)
}

/// SQLite's C interface, which the client reads them by, ends them at a zero byte.
fn bytes(row: &Row<'_>, column: &str) -> Option<Vec<u8>> {
    let bytes = row.get(column).bytes()?.split(|byte| *byte == 0).next()?;
    (!bytes.is_empty()).then(|| bytes.to_vec())
}
