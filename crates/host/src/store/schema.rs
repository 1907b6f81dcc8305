//! The tables, as a list of migrations that only grows. The first is the documented schema to the letter; what
//! Couplet needs beyond it comes behind.

use rusqlite_migration::{M, Migrations};

const MIGRATIONS: &[M<'static>] = &[
    M::up(
        "
        CREATE TABLE paired_devices (
            id TEXT PRIMARY KEY,                          -- UUID
            device_token_hash TEXT NOT NULL,              -- bcrypt hash of token
            device_name TEXT,                             -- User-facing name
            device_model TEXT,                            -- Model identifier
            paired_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP,
            last_seen TIMESTAMP,
            revoked_at TIMESTAMP                          -- NULL if active
        );
        CREATE INDEX idx_paired_devices_token_hash ON paired_devices(device_token_hash);
        CREATE INDEX idx_paired_devices_last_seen ON paired_devices(last_seen);

        CREATE TABLE pairing_tokens (
            token_hash TEXT PRIMARY KEY,                  -- SHA-256 hash of one-time token
            expires_at TIMESTAMP NOT NULL,                -- 60 seconds from creation
            used_at TIMESTAMP,                            -- NULL if unused
            used_by_device_id TEXT                        -- References paired_devices.id
        );
        CREATE INDEX idx_pairing_tokens_expires ON pairing_tokens(expires_at);
        ",
    ),
    M::up(
        "
        ALTER TABLE paired_devices ADD COLUMN token_selector TEXT;     -- hex of the first 8 bytes of SHA-256(token)
        ALTER TABLE paired_devices ADD COLUMN kind TEXT NOT NULL DEFAULT 'mobile';
        ALTER TABLE paired_devices ADD COLUMN scope TEXT NOT NULL DEFAULT '{}';
        ALTER TABLE paired_devices ADD COLUMN expires_at TIMESTAMP;    -- NULL: never
        ALTER TABLE paired_devices ADD COLUMN ended_at TIMESTAMP;      -- when expires_at was seen to have come
        ALTER TABLE paired_devices ADD COLUMN unused_until TIMESTAMP;  -- set until a credential of GET /pair is used
        ALTER TABLE paired_devices ADD COLUMN path TEXT;               -- 'lan', 'relay'
        ALTER TABLE paired_devices ADD COLUMN pairing_id TEXT;
        CREATE UNIQUE INDEX idx_paired_devices_selector ON paired_devices(token_selector);

        DELETE FROM pairing_tokens;                                    -- they live a minute
        ALTER TABLE pairing_tokens ADD COLUMN pairing_id TEXT;

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
        CREATE INDEX idx_pairings_open ON pairings(expires_at)
            WHERE state IN ('waiting', 'claimed', 'approval', 'granted');

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
    ),
    // Sealed sessions. The secrets are symmetric and must be at hand, so they cannot be hashed.
    M::up(
        "
        ALTER TABLE paired_devices ADD COLUMN psk_id BLOB;             -- 8 bytes; NULL: no sealed sessions
        ALTER TABLE paired_devices ADD COLUMN psk BLOB;                -- 32 bytes
        ALTER TABLE paired_devices ADD COLUMN device_key BLOB;         -- 32 bytes, X25519
        ALTER TABLE paired_devices ADD COLUMN platform TEXT;
        CREATE UNIQUE INDEX idx_paired_devices_psk_id ON paired_devices(psk_id);

        ALTER TABLE pairings ADD COLUMN platform TEXT;

        CREATE TABLE sealed_offers (                      -- the second credential of an offer: its link
            offer_id BLOB PRIMARY KEY,                    -- 8 bytes
            pairing_id TEXT NOT NULL UNIQUE,
            psk BLOB,                                     -- 32 bytes; NULL once the offer is over
            suites INTEGER NOT NULL,
            expires_at TIMESTAMP NOT NULL,
            tried INTEGER NOT NULL DEFAULT 0              -- devices that got the host's answer and went away
        );
        ",
    ),
    M::up(
        "
        CREATE TABLE announced_endpoints (                -- where devices were told that this host is; one row
            id INTEGER PRIMARY KEY CHECK (id = 1),
            list BLOB NOT NULL,                           -- as in an offer
            serial INTEGER NOT NULL                       -- rises with each change
        );
        ",
    ),
    // The relay.
    M::up(
        "
        ALTER TABLE sealed_offers ADD COLUMN room TEXT;                -- 32 digits of hex; NULL: made before this
        ALTER TABLE sealed_offers ADD COLUMN pairing_token_hash TEXT;  -- 64 digits of hex

        ALTER TABLE paired_devices ADD COLUMN room_secret BLOB;        -- 32 bytes; NULL: paired before this
        ALTER TABLE paired_devices ADD COLUMN room_index INTEGER NOT NULL DEFAULT 0; -- the lowest room that is kept
        ALTER TABLE paired_devices ADD COLUMN room_top INTEGER NOT NULL DEFAULT 1;   -- and the highest

        ALTER TABLE pairings ADD COLUMN relay TEXT;                    -- the relay that the device came through

        CREATE TABLE relay_rooms (                        -- rooms that may be registered
            room TEXT PRIMARY KEY,
            host_id TEXT NOT NULL,                        -- who this host is at the relay
            public_key TEXT NOT NULL                      -- random: what the relay is told in place of a key
        );
        ",
    ),
    // Watches.
    M::up(
        "
        ALTER TABLE paired_devices ADD COLUMN signing_key BLOB;        -- 33 bytes, a point of P-256; NULL: no watch

        CREATE TABLE watch_claims (                       -- the keys of watches that wait for the owner
            pairing_id TEXT PRIMARY KEY,
            signing_key BLOB NOT NULL
        );
        ",
    ),
    // Requests by PIN that ask for a sealed session get no token.
    M::up("ALTER TABLE pairings ADD COLUMN sealed INTEGER NOT NULL DEFAULT 0;"),
];

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
