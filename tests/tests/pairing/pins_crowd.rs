//! Pairing by PIN where several ask: which of them is meant, and who makes way.

use couplet_protocol::api::{DeviceList, PinRequest};
use e2e::by_pin::{Phone, accept, answer, logged, many, other, refused, request, requests};
use e2e::host::PATIENCE;
use e2e::{Running, Terminal, TestHost};
use reqwest::Method;
use serde_json::{Value, json};

/// Whoever asks by a name that another one has, and is let in for that one.
#[tokio::test]
async fn two_that_look_the_same_are_told_apart_by_their_numbers_and_no_bare_yes_lets_one_in() {
    let host = TestHost::start(many).await;
    let (phone, stranger) = (Phone::at(&host, [127, 0, 0, 2]), Phone::at(&host, [127, 0, 0, 3]));
    let (_, mine) = phone.ask_as("Anna's iPad").await;
    let (_, theirs) = stranger.ask_as("ａｎｎａ’s ＩＰＡＤ").await;
    assert_ne!(mine["match_number"], theirs["match_number"]);
    let (_, again) = phone.ask_as("Anna's iPad").await;
    assert_eq!(again, mine, "the same number for the same request");
    let waiting = requests(&host).await;
    let numbers: Vec<_> = waiting.iter().map(|request| json!(request.match_number)).collect();
    assert_eq!(numbers, [mine["match_number"].clone(), theirs["match_number"].clone()]);
    let mut list = Running::start(host.command(&["approve", "--no-input"]));
    let (_, stdout, stderr) = list.ended(PATIENCE).await;
    let listed = format!("{stdout}{stderr}");
    for request in &waiting {
        let row = listed.lines().find(|line| line.contains(&request.pin.show())).expect("it is listed");
        assert!(row.contains(&request.match_number.to_string()), "{listed}");
    }

    // By neither route, nor for either of them.
    for request in &waiting {
        for path in
            [format!("/mobile/pairing/{}/accept", request.id), format!("/api/pair/pairings/{}/approve", request.id)]
        {
            let refusal = host.owner().post(&path).send().await.unwrap();
            let status = refusal.status().as_u16();
            refused((status, refusal.json().await.unwrap()), 409, "CPL-1231");
        }
    }
    let id = |asked: &Value| asked["id"].as_str().unwrap().to_owned();
    assert_eq!((phone.poll(&id(&mine)).await.0, stranger.poll(&id(&theirs)).await.0), (202, 202));
    // The PIN is for one of them.
    assert_eq!(phone.send(&id(&mine), &waiting[0].pin.expose()).await.0, 200);
    assert_eq!(stranger.poll(&id(&theirs)).await.0, 202);

    // Once the other is turned away, a yes can be for one only.
    let (_, mine) = phone.ask_as("Anna's iPad").await;
    assert_eq!(answer(&host, &id(&mine), "accept").await, 409);
    assert_eq!(answer(&host, &waiting[1].id.to_string(), "reject").await, 204);
    assert_eq!(answer(&host, &id(&mine), "accept").await, 204);
    assert_eq!(phone.poll(&id(&mine)).await.0, 200);
    let devices: DeviceList = host.owner().expect(Method::GET, "/api/pair/devices", 200, None).await;
    assert_eq!(devices.devices.len(), 2);
}

/// Nobody else of its name, nor one that came in its place meanwhile.
#[tokio::test]
async fn a_yes_is_for_the_device_that_shows_what_was_typed() {
    let host = TestHost::start(many).await;
    let (phone, stranger) = (Phone::at(&host, [127, 0, 0, 2]), Phone::at(&host, [127, 0, 0, 3]));
    let (mine, theirs) = (phone.ask_as("iPad").await.1, stranger.ask_as("IPAD").await.1);
    let id = |asked: &Value| asked["id"].as_str().unwrap().to_owned();
    let number = mine["match_number"].as_str().unwrap();
    for other in [json!(number), json!("47"), json!("")] {
        refused(accept(&host, &id(&theirs), &json!({ "match_number": other })).await, 403, "CPL-1233");
    }
    refused(accept(&host, &id(&mine), &json!({})).await, 409, "CPL-1231");
    // It shows no check code, so who typed one means another device, though no other waits any more.
    assert_eq!(answer(&host, &id(&theirs), "reject").await, 204);
    refused(accept(&host, &id(&mine), &json!({ "check_code": "123456" })).await, 403, "CPL-1220");
    let other = if number == "471" { "472" } else { "471" };
    for (typed, why) in [("123456", "CPL-1220"), (other, "CPL-1233"), ("47", "CPL-1220")] {
        let (code, _, said) = Running::start(host.command(&["approve", "iPad", typed])).ended(PATIENCE).await;
        assert!(code != 0 && said.contains(why), "{typed}: {code} {said}");
    }
    let theirs = Phone::at(&host, [127, 0, 0, 4]).ask_as("ipad").await.1;
    assert_eq!(phone.poll(&id(&mine)).await.0, 202, "nobody was let in");
    Running::start(host.command(&["approve", "iPad", number])).succeeds(PATIENCE).await;
    assert_eq!(phone.poll(&id(&mine)).await.0, 200);
    assert_eq!(Phone::at(&host, [127, 0, 0, 4]).poll(&id(&theirs)).await.0, 202);
}

/// On a terminal nobody is let in outright before its number was compared.
#[tokio::test]
async fn the_terminal_asks_for_the_number_before_it_lets_a_device_in() {
    let host = TestHost::start(many).await;
    let phone = Phone::new(&host);
    let id = phone.ask("iPad").await;
    let number = request(&host, "iPad").await.match_number;
    for (arguments, key, status) in [(&["approve", "iPad"][..], "n", 202), (&["approve"][..], "y", 200)] {
        let terminal = Terminal::start(&host.command(arguments), 100, 30).await;
        let question = format!("only if it shows {number}. Does it? [y/N]");
        terminal.shows("the question", PATIENCE, |screen| screen.has(&question)).await;
        terminal.press(&[key, "Enter"]).await;
        let (code, left) = terminal.end(PATIENCE).await;
        assert_eq!(code == 0, status == 200, "{code}: {left}");
        assert_eq!(phone.poll(&id).await.0, status);
    }
}

/// Made-up addresses that ask and go away, as a neighbour can make them, keep nobody out and fill no log.
#[tokio::test]
async fn who_only_asks_makes_way_for_who_waits_and_is_not_written_down() {
    let host = TestHost::start(|setup| {
        many(setup);
        setup.env("COUPLET_LIMITS__MAX_CLAIMS", "4").movable_clock();
    })
    .await;
    let phone = Phone::at(&host, [127, 0, 0, 2]);
    let waits = phone.ask("iPad").await;
    let asks = async |last: u8| Phone::at(&host, [127, 0, 0, last]).ask_as("Made up").await;
    let mut first = None;
    for last in 10..13 {
        first.get_or_insert(asks(last).await.1["id"].as_str().unwrap().to_owned());
    }
    refused(asks(13).await, 409, "CPL-1206");
    // The phone goes on asking for its owner's word, the others do not.
    for (round, offset) in ["+16", "+32", "+48", "+64"].into_iter().enumerate() {
        host.set_clock(offset);
        assert_eq!(phone.poll(&waits).await.0, 202, "{offset}");
        for n in 0..3 {
            let (status, answer) = asks(20 + 3 * u8::try_from(round).unwrap() + n).await;
            assert_eq!(status, 200, "{offset}: {answer}");
        }
        refused(asks(90).await, 409, "CPL-1206");
        let names: Vec<_> = requests(&host).await.into_iter().map(|request| request.device_name).collect();
        assert_eq!(names, ["iPad", "Made up", "Made up", "Made up"], "{offset}");
    }
    refused(Phone::at(&host, [127, 0, 0, 10]).poll(&first.unwrap()).await, 410, "CPL-1229");
    host.set_clock("+500");
    e2e::eventually("all have ended", PATIENCE, async || requests(&host).await.is_empty()).await;
    assert_eq!(logged(&host).await, [""; 0], "nothing came of any");
    assert_eq!(host.owner().post("/api/pair/generate").send().await.unwrap().status(), 200);
    e2e::eventually("the log is on", PATIENCE, async || host.logs().contains("offer.created")).await;
    assert!(!host.logs().contains("Made up"), "{}", host.logs());
}

#[tokio::test]
async fn a_device_takes_its_request_back() {
    let host = TestHost::start(|_| {}).await;
    let phone = Phone::new(&host);
    let withdraw = async |id: &str| {
        let answer = phone.http.delete(format!("{}/mobile/pairing/{id}", phone.base)).send().await.unwrap();
        let status = answer.status().as_u16();
        (status, answer.json::<Value>().await.unwrap_or_default())
    };
    let id = phone.ask("iPad").await;
    let shown = request(&host, "iPad").await;
    refused(withdraw(&shown.id.to_string()).await, 404, "CPL-1211");
    assert_eq!(withdraw(&id).await.0, 204);
    host.event("offer.expired", |event| event["pairing_id"] == json!(shown.id)).await;
    refused(phone.send(&id, &shown.pin.expose()).await, 410, "CPL-1229");
    refused(withdraw(&id).await, 410, "CPL-1229");
    assert_eq!(answer(&host, &shown.id.to_string(), "accept").await, 409);
    assert!(requests(&host).await.is_empty());

    // What was accepted meanwhile, too; and another name waits for nothing.
    let id = phone.ask("Tablet").await;
    assert_eq!(answer(&host, &id, "accept").await, 204);
    assert_eq!(withdraw(&id).await.0, 204);
    refused(phone.poll(&id).await, 410, "CPL-1229");
    let id = phone.ask("Phone").await;
    assert_eq!(phone.send(&id, &request(&host, "Phone").await.pin.expose()).await.0, 200);
    refused(withdraw(&id).await, 410, "CPL-1217");
    // Nor may it be guessed which requests there are.
    let mut answers = Vec::new();
    for _ in 0..10 {
        answers.push(withdraw("clm_AAAAAAAAAAAAAAAAAAAAAA").await.0);
    }
    assert_eq!(answers.last(), Some(&429), "{answers:?}");
}

/// Who keeps all places by asking on and on is turned away at once, and cannot take them again before others have.
#[tokio::test]
async fn places_that_strangers_hold_are_freed_by_one_command() {
    let host = TestHost::start(|setup| {
        many(setup);
        setup.env("COUPLET_LIMITS__MAX_CLAIMS", "4").movable_clock();
    })
    .await;
    let strangers: Vec<_> = (10..14).map(|last| Phone::at(&host, [127, 0, 0, last])).collect();
    let mut asked = Vec::new();
    for stranger in &strangers {
        asked.push(stranger.ask("Stranger").await);
    }
    host.set_clock("+16");
    for (stranger, id) in strangers.iter().zip(&asked) {
        assert_eq!(stranger.poll(id).await.0, 202);
    }
    let phone = Phone::at(&host, [127, 0, 0, 2]);
    refused(phone.ask_as("iPad").await, 409, "CPL-1206");

    let (code, _, said) = Running::start(host.command(&["reject", "--all"])).ended(PATIENCE).await;
    assert!(code == 0 && said.contains("4 devices were turned away"), "{said}");
    for (stranger, id) in strangers.iter().zip(&asked) {
        refused(stranger.poll(id).await, 410, "CPL-1228");
        let (status, problem) = stranger.ask_as("Stranger").await;
        assert!(problem["detail"].as_str().unwrap().contains("seconds"), "{problem}");
        refused((status, problem), 429, "CPL-1234");
    }
    let id = phone.ask("iPad").await;
    host.set_clock("+77");
    assert_eq!(strangers[0].ask_as("Stranger").await.0, 200, "it has waited");
    assert_eq!(phone.send(&id, &request(&host, "iPad").await.pin.expose()).await.0, 200);

    let (code, listed, _) = Running::start(host.command(&["reject", "--all", "--json"])).ended(PATIENCE).await;
    let listed: Value = serde_json::from_str(&listed).unwrap();
    assert!(code == 0 && listed["pairings"][0]["device_name"] == "Stranger", "{listed}");
    let (code, _, said) = Running::start(host.command(&["reject", "--all"])).ended(PATIENCE).await;
    assert!(code == 0 && said.contains("No device waits"), "{said}");
}

/// Asks and sends three wrong PINs, as far as that goes: what the last one is answered.
async fn guess(host: &TestHost, last: u8) -> (u16, Value) {
    let guesser = Phone::at(host, [127, 0, 0, last]);
    let id = guesser.ask("Guesser").await;
    let wrong = other(&request(host, "Guesser").await.pin.expose());
    for _ in 0..2 {
        guesser.send(&id, &wrong).await;
    }
    guesser.send(&id, &wrong).await
}

#[tokio::test]
async fn whoever_guesses_gets_few_guesses_and_shuts_nobody_out() {
    let host = TestHost::start(many).await;
    // A source has six in an hour.
    for _ in 0..2 {
        refused(guess(&host, 10).await, 410, "CPL-1227");
    }
    refused(guess(&host, 10).await, 429, "CPL-1207");
    let shown = request(&host, "Guesser").await;
    assert_eq!(answer_unheard(&host, &shown).await, 429, "not even the right one");
    // Another device is let in at its first try meanwhile.
    let phone = Phone::at(&host, [127, 0, 0, 30]);
    let id = phone.ask("iPad").await;
    assert_eq!(phone.send(&id, &request(&host, "iPad").await.pin.expose()).await.0, 200);

    // All together have 24 in a day, as long as the owner lets nobody in.
    for last in 11..17 {
        refused(guess(&host, last).await, 410, "CPL-1227");
    }
    let late = Phone::at(&host, [127, 0, 0, 31]);
    let id = late.ask("Late").await;
    let pin = request(&host, "Late").await.pin.expose();
    let (status, problem) = late.send(&id, &pin).await;
    assert!(problem["detail"].as_str().unwrap().contains("couplet approve"), "{problem}");
    refused((status, problem), 429, "CPL-1207");
    // A no, a code that is shown anew and a yes to nobody bring no more guesses: who guesses could cause them.
    assert_eq!(answer(&host, &shown.id.to_string(), "reject").await, 204);
    assert_eq!(answer(&host, &shown.id.to_string(), "accept").await, 409);
    assert_eq!(host.owner().post("/api/pair/generate").send().await.unwrap().status(), 200);
    refused(late.send(&id, &pin).await, 429, "CPL-1207");
    // The request waits on, and its owner lets it in without a PIN, by its number if another took its name. From then on they
    // count again.
    assert_eq!(late.poll(&id).await.0, 202);
    Phone::at(&host, [127, 0, 0, 33]).ask("late").await;
    refused(accept(&host, &id, &json!({})).await, 409, "CPL-1231");
    let number = request(&host, "Late").await.match_number;
    assert_eq!(accept(&host, &id, &json!({ "match_number": number })).await.0, 204);
    assert_eq!(late.poll(&id).await.0, 200);
    let later = Phone::at(&host, [127, 0, 0, 32]);
    let id = later.ask("Later").await;
    assert_eq!(later.send(&id, &request(&host, "Later").await.pin.expose()).await.0, 200);
}

/// The right PIN of the first guesser's request, sent by it.
async fn answer_unheard(host: &TestHost, shown: &PinRequest) -> u16 {
    let guesser = Phone::at(host, [127, 0, 0, 10]);
    let id = guesser.ask("Guesser").await;
    guesser.send(&id, &shown.pin.expose()).await.0
}

/// What a service or a program keeps of its lines is no place for a PIN, and a crowd fills none of it.
#[tokio::test]
async fn without_a_terminal_pair_tells_of_a_few_that_ask_and_of_no_pin() {
    let host = TestHost::start(many).await;
    let link = |line: &str| line.contains("COUPLET:");
    let (said, lines) = (Running::start(host.command(&["pair"])), Running::start(host.command(&["pair", "--json"])));
    said.wait_for_line(PATIENCE, link).await;
    lines.wait_for_line(PATIENCE, link).await;
    for last in 2..22 {
        Phone::at(&host, [127, 0, 0, last]).ask(&format!("Phone {last}")).await;
    }
    let is_last = |line: &str| line.contains("approval.wanted") && line.contains("Phone 21");
    lines.wait_for_line(PATIENCE, is_last).await;
    said.wait_for_error_line(PATIENCE, |line| line.contains("More devices ask to pair by PIN")).await;
    let pins: Vec<_> = requests(&host).await.into_iter().map(|request| request.pin).collect();
    assert_eq!(pins.len(), 20);
    for written in [said.written(), lines.written(), host.logs()] {
        for pin in &pins {
            assert!(!written.contains(&pin.show()) && !written.contains("\"pin\":"), "{written}");
        }
    }
    assert_eq!(
        said.written().matches("asks to pair by PIN: couplet approve shows it").count(),
        8,
        "{}",
        said.written()
    );
}
