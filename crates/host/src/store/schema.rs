//! The tables, as a list of migrations that only grows. The columns and indexes of `paired_devices` and
//! `pairing_tokens` that carry no comment are the documented ones; those behind "beyond" are ours.

use rusqlite_migration::{M, Migrations};

const MIGRATIONS: &[M<'static>] = &[M::up(
    "
    CREATE TABLE paired_devices (
        id TEXT PRIMARY KEY,                          -- UUID
        device_token_hash TEXT NOT NULL,              -- bcrypt, cost 10
        device_name TEXT,
        device_model TEXT,
        paired_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP,
        last_seen TIMESTAMP,
        revoked_at TIMESTAMP,                         -- NULL while active
        -- beyond
        token_selector TEXT NOT NULL UNIQUE,          -- hex of the first 8 bytes of SHA-256(token)
        kind TEXT NOT NULL,
        scope TEXT NOT NULL DEFAULT '{}',
        expires_at TIMESTAMP,                         -- NULL: never
        unused_until TIMESTAMP,                       -- set until the first use of a credential of GET /pair
        path TEXT,                                    -- 'lan', 'relay'
        pairing_id TEXT
    );
    CREATE INDEX idx_paired_devices_token_hash ON paired_devices(device_token_hash);
    CREATE INDEX idx_paired_devices_last_seen ON paired_devices(last_seen);

    CREATE TABLE pairing_tokens (
        token_hash TEXT PRIMARY KEY,                  -- hex SHA-256 of the one-time token
        expires_at TIMESTAMP NOT NULL,
        used_at TIMESTAMP,
        used_by_device_id TEXT,
        -- beyond
        pairing_id TEXT NOT NULL
    );
    CREATE INDEX idx_pairing_tokens_expires ON pairing_tokens(expires_at);

    CREATE TABLE pairings (                           -- the ceremony, one row for each offer or claim
        id TEXT PRIMARY KEY,
        door TEXT NOT NULL,
        state TEXT NOT NULL,
        created_at TIMESTAMP NOT NULL,
        expires_at TIMESTAMP NOT NULL,                -- when the present state ends by itself
        claim_hash TEXT UNIQUE,                       -- hex SHA-256 of what a waiting device polls with
        device_name TEXT,
        device_model TEXT,
        network TEXT,
        device_id TEXT
    );
    CREATE INDEX idx_pairings_open ON pairings(expires_at) WHERE state IN ('waiting', 'claimed', 'approval', 'granted');

    CREATE TABLE audit (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        at TIMESTAMP NOT NULL,
        action TEXT NOT NULL,
        actor TEXT NOT NULL,
        pairing_id TEXT,
        device_id TEXT,
        network TEXT,
        detail TEXT
    );
    CREATE INDEX idx_audit_at ON audit(at);
    ",
)];

/// All migrations, oldest first.
pub(super) const ALL: Migrations<'static> = Migrations::from_slice(MIGRATIONS);

/// The schema that this binary writes.
pub(super) const VERSION: u32 = MIGRATIONS.len() as u32;

#[cfg(test)]
mod tests {
    #[test]
    fn migrations_run_from_nothing_to_the_latest() {
        super::ALL.validate().unwrap();
    }
}
