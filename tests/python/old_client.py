"""Makes the state folder of the client that was there before: old_client.py SQL.DB JSON

JSON (on the command line) says the schema (0 to 25, or "all" of them: SQL.DB.0 and so on) and the facts; a fact that a schema has no place for is left out. The
tables are those that its migrations leave behind, in the order of their columns.
"""

import json
import sqlite3
import sys


def integer(name, more=""):
    """A column of a number."""
    return f"{name} INTEGER NOT NULL{more} DEFAULT 0"


def migrate(database, schema):
    """All tables of a schema, one step after the other, as a device in the field went through them."""
    one = "unique_mark INTEGER PRIMARY KEY CHECK (unique_mark = 0)"
    steps = [
        [
            "CREATE TABLE version(version INTEGER)",
            "CREATE TABLE device_info(device_id TEXT NOT NULL, is_registered INTEGER NOT NULL)",
            "CREATE TABLE ecu_serials(serial TEXT UNIQUE, hardware_id TEXT NOT NULL, is_primary INTEGER NOT NULL CHECK (is_primary IN (0,1)))",
            "CREATE TABLE primary_keys(private TEXT, public TEXT)",
            "CREATE TABLE installed_versions(hash TEXT UNIQUE, name TEXT NOT NULL)",
            "CREATE TABLE tls_creds(ca_cert BLOB, ca_cert_format TEXT, client_cert BLOB, client_cert_format TEXT, client_pkey BLOB, client_pkey_format TEXT)",
            "CREATE TABLE meta(director_root BLOB NOT NULL, director_targets BLOB NOT NULL, image_root BLOB NOT NULL, image_targets BLOB NOT NULL, image_timestamp BLOB NOT NULL, image_snapshot BLOB NOT NULL)",
        ],
        [
            "CREATE TABLE device_info_migrate(device_id TEXT, is_registered INTEGER NOT NULL DEFAULT 0 CHECK (is_registered IN (0,1)))",
            "DROP TABLE device_info",
            "ALTER TABLE device_info_migrate RENAME TO device_info",
        ],
        ["CREATE TABLE target_images(filename TEXT UNIQUE, image_data BLOB NOT NULL)"],
        [f"ALTER TABLE installed_versions ADD COLUMN {integer('is_current', ' CHECK ( is_current IN ( 0 , 1 ) )')}"],
        [f"ALTER TABLE installed_versions ADD COLUMN {integer('length')}"],
        [],
        ["DROP TABLE meta", "CREATE TABLE meta(meta BLOB NOT NULL, repo INTEGER NOT NULL, meta_type INTEGER NOT NULL, version INTEGER NOT NULL, UNIQUE(repo, meta_type, version))"],
        [],
        [
            "DROP TABLE primary_keys",
            f"CREATE TABLE primary_keys({one}, private TEXT, public TEXT)",
            "DROP TABLE device_info",
            f"CREATE TABLE device_info({one}, device_id TEXT, is_registered INTEGER NOT NULL DEFAULT 0)",
        ],
        [
            "DROP TABLE installed_versions",
            f"CREATE TABLE installed_versions(hash TEXT, name TEXT NOT NULL, {integer('is_current')}, {integer('length')}, UNIQUE(hash, name))",
        ],
        [],
        [],
        [f"CREATE TABLE need_reboot({one}, {integer('flag')})"],
        [
            "DROP TABLE installed_versions",
            "CREATE TABLE installed_versions(ecu_serial TEXT NOT NULL, sha256 TEXT NOT NULL, name TEXT NOT NULL, hashes TEXT NOT NULL, "
            f"{integer('length')}, correlation_id TEXT NOT NULL DEFAULT '', {integer('is_current')}, {integer('is_pending')}, UNIQUE(ecu_serial, sha256, name))",
        ],
        [],
        ["CREATE TABLE rollback_migrations(version_from INT PRIMARY KEY, migration TEXT NOT NULL)"],
        [
            f"CREATE TABLE device_installation_result({one}, {integer('success')}, result_code TEXT NOT NULL DEFAULT \"\", description TEXT NOT NULL DEFAULT \"\", raw_report TEXT NOT NULL DEFAULT \"\", correlation_id TEXT NOT NULL DEFAULT \"\")",
        ],
        ["CREATE TABLE delegations(meta BLOB NOT NULL, role_name TEXT NOT NULL, UNIQUE(role_name))"],
        [],
        [
            "DROP TABLE ecu_serials",
            "CREATE TABLE ecu_serials(id INTEGER PRIMARY KEY, serial TEXT UNIQUE, hardware_id TEXT NOT NULL, is_primary INTEGER NOT NULL DEFAULT 0)",
        ],
        [
            "DROP TABLE installed_versions",
            "CREATE TABLE installed_versions(id INTEGER PRIMARY KEY, ecu_serial TEXT NOT NULL, sha256 TEXT NOT NULL, name TEXT NOT NULL, hashes TEXT NOT NULL, "
            f"{integer('length')}, correlation_id TEXT NOT NULL DEFAULT '', {integer('is_current')}, {integer('is_pending')}, {integer('was_installed')})",
        ],
        ['ALTER TABLE installed_versions ADD COLUMN custom_meta TEXT NOT NULL DEFAULT ""'],
        ["CREATE TABLE ecu_report_counter(ecu_serial TEXT NOT NULL PRIMARY KEY, counter INTEGER NOT NULL DEFAULT 0)"],
        ["ALTER TABLE ecu_serials RENAME TO ecus", "CREATE TABLE secondary_ecus(serial TEXT PRIMARY KEY, sec_type TEXT)"],
        ["CREATE TABLE report_events(id INTEGER PRIMARY KEY, json_string TEXT NOT NULL)"],
        ["CREATE TABLE device_data(data_type TEXT PRIMARY KEY, hash TEXT NOT NULL)"],
    ]
    for step in steps[: schema + 1]:
        for statement in step:
            database.execute(statement)
    database.execute("INSERT INTO version VALUES (?)", (schema,))


def insert(database, table, facts):
    """A row of those facts that the table has columns for."""
    columns = [row[1] for row in database.execute(f"PRAGMA table_info({table})")]
    facts = {name: fact for name, fact in facts.items() if name in columns}
    if facts:
        names = ", ".join(facts)
        database.execute(f"INSERT INTO {table}({names}) VALUES ({', '.join('?' * len(facts))})", tuple(facts.values()))


def content(named):
    """A text, or `@FILE` for the content of a file."""
    if named.startswith("@"):
        with open(named[1:], "rb") as file:
            return file.read()
    return named.encode()


def main(path, facts):
    """Makes the file."""
    schema = facts.get("schema", 25)
    database = sqlite3.connect(path)
    migrate(database, schema)
    insert(database, "device_info", {"unique_mark": 0, "device_id": facts["device_id"], "is_registered": facts.get("registered", 1)})
    if "key" in facts:
        insert(database, "primary_keys", {"unique_mark": 0, "private": content(facts["key"]).decode(), "public": "public"})
    for primary, (serial, hardware_id) in enumerate(facts["ecus"]):
        insert(database, "ecu_serials" if schema < 23 else "ecus", {"serial": serial, "hardware_id": hardware_id, "is_primary": int(primary == 0)})
    tls = {name: content(fact) for name, fact in facts.get("tls", {}).items()}
    if tls:
        insert(database, "tls_creds", tls)
    for version in facts.get("versions", []):
        more = {"ecu_serial": facts["ecus"][0][0], "hash": version.get("sha256"), "hashes": "", "length": 0}
        insert(database, "installed_versions", {**more, **version})
    old = {}
    for file in facts.get("metadata", []):
        repo, role, version = int(file["director"]), ["root", "snapshot", "targets", "timestamp"].index(file["role"]), file.get("version", -1)
        if schema < 6:
            old[("director_" if repo else "image_") + file["role"]] = content(file["content"])
        else:
            insert(database, "meta", {"meta": content(file["content"]), "repo": repo, "meta_type": role, "version": version})
    if old:
        names = [row[1] for row in database.execute("PRAGMA table_info(meta)")]
        insert(database, "meta", {name: old.get(name, b"") for name in names})
    for table in ("ecu_report_counter", "device_installation_result", "report_events"):
        for row in facts.get(table, []):
            insert(database, table, row)
    if facts.get("wal"):
        database.execute("PRAGMA journal_mode=WAL")
    database.commit()
    database.close()


if __name__ == "__main__":
    FACTS = json.loads(sys.argv[2])
    if FACTS.get("schema") == "all":
        for number in range(26):
            main(f"{sys.argv[1]}.{number}", {**FACTS, "schema": number})
    else:
        main(sys.argv[1], FACTS)
