//! Rooms of an account.

use super::*;

#[tokio::test]
async fn a_room_of_an_account_stays_its_own_when_it_is_rotated() {
    let signer = Signer::p256("a");
    let relay = Relay::new(&[&signer]);
    let token = |who: &str| signer.sign(&relay.claims(json!({"sub": who, "email": format!("{who}@example.org")})));
    let doors = Doors::with(Some(Arc::clone(&relay.accounts))).await;
    let by = |mut message: Value, account: &str| {
        message["account"] = account.into();
        message
    };
    // Before the right credential nobody's account is looked at.
    let stranger = doors.refused(by(join("pairing_token_hash", 2), &token("ann"))).await;
    assert_eq!((stranger.0, relay.asked()), (auth_failed("Invalid credentials"), 0));

    let mut host = doors.host_socket();
    host.text(by(register(1, Some(2)), &token("ann"))).await;
    assert_eq!(host.json().await["type"], "room_registered");
    let (error, code, reason) = doors.refused(by(join("pairing_token_hash", 2), "no.token.atall")).await;
    assert_eq!((error["code"].as_str().unwrap(), code, reason), ("ACCOUNT_INVALID", 4004, "account not valid"));
    // Only who has the credential hears of it, and the token stays good.
    assert_eq!(doors.refused(by(join("secret_hash", 9), &token("bob"))).await.0, auth_failed("Invalid credentials"));
    let (error, code, reason) = doors.refused(by(join("pairing_token_hash", 2), &token("bob"))).await;
    assert_eq!((code, reason), (4004, "account mismatch"));
    assert_eq!((&error["mac_email"], &error["ios_email"]), (&json!("ann@example.org"), &json!("bob@example.org")));
    let device = doors.joined(&mut host, by(join("pairing_token_hash", 2), &token("ann"))).await;

    host.text(register(7, None)).await;
    host.bytes(b"rotated").await;
    drop(device);
    let (error, ..) = doors.refused(join("secret_hash", 7)).await;
    assert_eq!((&error["code"], error.get("ios_email")), (&json!("ACCOUNT_MISMATCH"), None));
    doors.joined(&mut host, by(join("secret_hash", 7), &token("ann"))).await;
}

#[test]
fn another_account_is_told_with_both_addresses() {
    let refusal = Refusal::AccountMismatch {
        host_email: Some("ann@example.org".into()),
        device_email: Some("bob@example.org".into()),
    };
    let [Outgoing::Text(error), close] = &refusal.to_messages()[..] else { panic!("{refusal:?}") };
    assert_eq!(
        serde_json::from_str::<Value>(error).unwrap(),
        json!({
            "type": "error", "code": "ACCOUNT_MISMATCH",
            "message": "This Mac is registered under a different account. Please sign in with the same account on both devices.",
            "mac_email": "ann@example.org", "ios_email": "bob@example.org",
        })
    );
    assert_eq!(*close, Outgoing::Close { code: 4004, reason: "account mismatch" });
}
