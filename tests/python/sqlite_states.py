"""Makes SQLite databases of many kinds, and what SQLite itself reads of each: sqlite_states.py FOLDER

Each kind is a folder with `sql.db`, maybe `sql.db-journal` and `sql.db-wal`, and `expected.json`: by table, the rows with each
value as null, a number, or hex of its bytes. A database that is to be refused has no `expected.json`.
"""

import json
import os
import shutil
import sqlite3
import sys

FILES = ("sql.db", "sql.db-journal", "sql.db-wal")


def value(item):
    """As the reader shows it."""
    if isinstance(item, str):
        return item.encode().hex()
    return item.hex() if isinstance(item, bytes) else item


def dump(folder):
    """What SQLite reads, from a copy, since it repairs what it opens."""
    copy = folder + ".copy"
    shutil.copytree(folder, copy)
    database = sqlite3.connect(os.path.join(copy, "sql.db"))
    tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type='table'")]
    rows = {t: [[value(v) for v in row] for row in database.execute(f'SELECT * FROM "{t}" ORDER BY rowid')] for t in tables}
    assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",), folder
    database.close()
    shutil.rmtree(copy)
    with open(os.path.join(folder, "expected.json"), "w", encoding="utf-8") as out:
        json.dump(rows, out)


def crash(source, folder):
    """The files as they are now, as a power cut would leave them."""
    os.makedirs(folder)
    for name in FILES:
        if os.path.exists(os.path.join(source, name)):
            shutil.copy(os.path.join(source, name), os.path.join(folder, name))


def fill(database, rows, size):
    """A table of the usual kinds of columns, one with an alias of the row id, and one that grew a column."""
    database.execute("CREATE TABLE plain(a TEXT NOT NULL, b INTEGER DEFAULT 0, c BLOB, UNIQUE(a, b))")
    database.execute('CREATE TABLE "with id"(id INTEGER PRIMARY KEY CHECK (id >= 0), x TEXT)')
    for n in range(rows):
        database.execute("INSERT INTO plain VALUES (?, ?, ?)", (f"{n}" * size, (-1) ** n * 7 ** (n % 22), os.urandom(n * size % 9000)))
        database.execute('INSERT INTO "with id" VALUES (?, ?)', (n * 1000003, None if n % 3 else "é\u20ac"))
    database.execute("ALTER TABLE plain ADD COLUMN d TEXT")
    database.execute("INSERT INTO plain VALUES ('late', 1, x'00ff', 'there')")
    for number in (0, 1, 127, 128, -128, -129, 2**15, 2**23, -(2**31), 2**47, -(2**47) - 1, 2**63 - 1, -(2**63)):
        database.execute("INSERT INTO plain VALUES (?, ?, NULL, NULL)", (f"n{number}", number))
    database.commit()


def simple(root, name, rows, size, *pragmas):
    """One database that was closed in order."""
    folder = os.path.join(root, name)
    os.makedirs(folder)
    database = sqlite3.connect(os.path.join(folder, "sql.db"))
    for pragma in pragmas:
        database.execute(f"PRAGMA {pragma}")
    fill(database, rows, size)
    if "free" in name:
        database.execute("DELETE FROM plain WHERE b > 100 OR b < 0")
        database.commit()
    database.close()
    dump(folder)


def log(root):
    """A write-ahead log: before a checkpoint, after one, with a second round over the first, with a cut transaction."""
    work = os.path.join(root, "work-wal")
    os.makedirs(work)
    database = sqlite3.connect(os.path.join(work, "sql.db"))
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("PRAGMA wal_autocheckpoint=0")
    fill(database, 40, 5)
    crash(work, os.path.join(root, "wal-frames"))
    reader = sqlite3.connect(os.path.join(work, "sql.db"))
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM plain").fetchone()
    database.execute("DELETE FROM plain WHERE b > 5")
    database.commit()
    database.execute("PRAGMA wal_checkpoint(PASSIVE)")
    crash(work, os.path.join(root, "wal-partly-checkpointed"))
    reader.close()
    database.execute("PRAGMA wal_checkpoint(RESTART)")
    database.execute("INSERT INTO plain VALUES ('second round', 2, NULL, NULL)")
    database.commit()
    crash(work, os.path.join(root, "wal-second-round"))
    database.execute("PRAGMA cache_size=2")
    database.execute("UPDATE plain SET a = a || 'never committed', c = zeroblob(3000)")
    crash(work, os.path.join(root, "wal-uncommitted"))
    database.rollback()
    torn = os.path.join(root, "wal-torn")
    crash(os.path.join(root, "wal-second-round"), torn)
    with open(os.path.join(torn, "sql.db-wal"), "r+b") as file:
        file.seek(32 + 24 + 100)
        file.write(b"torn")
    half = os.path.join(root, "wal-half-header")
    crash(os.path.join(root, "wal-second-round"), half)
    os.truncate(os.path.join(half, "sql.db-wal"), 20)
    for name in ("frames", "partly-checkpointed", "second-round", "uncommitted", "torn", "half-header"):
        dump(os.path.join(root, f"wal-{name}"))
    database.close()
    shutil.rmtree(work)


def journal(root):
    """A rollback journal: hot, of a transaction that added and changed pages; zeroed; of several databases."""
    for page in (512, 4096):
        work = os.path.join(root, f"work-journal-{page}")
        os.makedirs(work)
        database = sqlite3.connect(os.path.join(work, "sql.db"))
        database.execute(f"PRAGMA page_size={page}")
        fill(database, 60, 4)
        # So small a cache writes pages to the database before the transaction ends.
        database.execute("PRAGMA cache_size=3")
        database.execute("PRAGMA cache_spill=3")
        database.execute("UPDATE plain SET a = a || 'never committed', c = randomblob(2500)")
        for n in range(200):
            database.execute("INSERT INTO plain VALUES (?, 0, randomblob(700), NULL)", (f"never {n}",))
        database.execute("DELETE FROM 'with id' WHERE id % 2")
        hot = os.path.join(root, f"journal-hot-{page}")
        crash(work, hot)
        assert os.path.getsize(os.path.join(hot, "sql.db-journal")) > page
        database.rollback()
        database.close()
        shutil.rmtree(work)
        zeroed = os.path.join(root, f"journal-zeroed-{page}")
        os.makedirs(zeroed)
        shutil.copy(os.path.join(root, f"page-{page}", "sql.db"), zeroed)
        shutil.copy(os.path.join(hot, "sql.db-journal"), zeroed)
        with open(os.path.join(zeroed, "sql.db-journal"), "r+b") as file:
            file.write(bytes(28))
        dump(zeroed)
        dump(hot)
    others = os.path.join(root, "refused-journal-of-several")
    crash(os.path.join(root, "journal-hot-4096"), others)
    with open(os.path.join(others, "sql.db-journal"), "ab") as file:
        file.write(bytes([0, 0, 0, 5, 0, 0, 0, 1]) + bytes.fromhex("d9d505f920a163d7"))


def refused(root):
    """What must not be read."""
    folder = os.path.join(root, "refused-utf16")
    os.makedirs(folder)
    database = sqlite3.connect(os.path.join(folder, "sql.db"))
    database.execute("PRAGMA encoding='UTF-16le'")
    fill(database, 2, 1)
    database.close()
    folder = os.path.join(root, "refused-without-rowid")
    os.makedirs(folder)
    database = sqlite3.connect(os.path.join(folder, "sql.db"))
    database.execute("CREATE TABLE plain(a TEXT PRIMARY KEY, b INTEGER) WITHOUT ROWID")
    database.execute("INSERT INTO plain VALUES ('a', 1)")
    database.commit()
    database.close()
    whole = os.path.join(root, "page-4096", "sql.db")
    for name, change in (
        ("cut", lambda f: f.truncate(4096 * 3)),
        ("no-database", lambda f: f.write(b"PostgreSQL")),
        ("zeros", lambda f: f.write(bytes(4096))),
        ("page-of-another-kind", lambda f: (f.seek(4096), f.write(bytes([0x0A])))),
    ):
        folder = os.path.join(root, f"refused-{name}")
        os.makedirs(folder)
        shutil.copy(whole, folder)
        with open(os.path.join(folder, "sql.db"), "r+b") as file:
            change(file)


def main(root):
    """All of them."""
    for page in (512, 1024, 4096, 8192, 65536):
        simple(root, f"page-{page}", 60, 4, f"page_size={page}")
    simple(root, "overflow", 12, 3000, "page_size=512")
    simple(root, "deep", 1500, 1, "page_size=512")
    simple(root, "free-pages", 60, 30, "page_size=1024")
    simple(root, "auto-vacuum", 60, 30, "page_size=1024", "auto_vacuum=FULL")
    simple(root, "auto-vacuum-free", 60, 30, "page_size=512", "auto_vacuum=INCREMENTAL")
    simple(root, "old-format", 10, 4, "legacy_file_format=ON")
    simple(root, "journal-kept", 20, 4, "journal_mode=PERSIST")
    os.makedirs(os.path.join(root, "empty"))
    open(os.path.join(root, "empty", "sql.db"), "wb").close()
    dump(os.path.join(root, "empty"))
    log(root)
    journal(root)
    refused(root)


if __name__ == "__main__":
    main(sys.argv[1])
