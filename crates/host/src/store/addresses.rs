//! `announced_endpoints`: the addresses that devices were told last, and the number of that list.

use rusqlite::{OptionalExtension, Transaction, params};

use crate::clock::Timestamp;
use crate::problem::Failure;

/// The number of this list: that of the last one when it is the same, else one above it. A new number is also not below
/// the present time, so that it is news even after the database was restored from an older copy.
pub(crate) fn number(tx: &Transaction<'_>, list: &[u8], now: Timestamp) -> Result<u64, Failure> {
    let sql = "SELECT list, serial FROM announced_endpoints";
    let last: Option<(Vec<u8>, i64)> =
        tx.query_row(sql, [], |row| Ok((row.get("list")?, row.get("serial")?))).optional()?;
    let above = last.as_ref().map_or(1, |(_, serial)| serial.saturating_add(1));
    let serial = match last {
        Some((known, serial)) if known == list => return Ok(serial.unsigned_abs()),
        _ => above.max(now.millis() / 1000),
    };
    let sql = "INSERT OR REPLACE INTO announced_endpoints (id, list, serial) VALUES (1, ?, ?)";
    tx.execute(sql, params![list, serial])?;
    Ok(serial.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;

    #[tokio::test]
    async fn a_changed_list_has_a_higher_number_whatever_the_clock_says() {
        let store = Store::in_memory();
        let number = async |list: &'static [u8], seconds: i64| {
            let now = Timestamp::from_millis(seconds * 1000);
            store.write(move |tx| number(tx, list, now), |_| ()).await.unwrap()
        };
        assert_eq!(number(b"a", 1000).await, 1000);
        assert_eq!(number(b"a", 2000).await, 1000, "no news");
        assert_eq!(number(b"b", 1000).await, 1001);
        assert_eq!(number(b"a", 5).await, 1002);
        assert_eq!(number(b"b", 3000).await, 3000);
    }
}
