//! Devices that ask to pair by PIN, in the owner's dashboard: the PIN to type, the number to compare, Allow and Reject.

use e2e::by_pin::{Phone, answer, check_code, many, other, refused, request};
use e2e::host::PATIENCE;
use e2e::terminal::Screen;
use e2e::{Dashboard, Laptop, Running, Terminal, TestApp, TestHost};
use serde_json::{Value, json};

/// The digits of the only PIN on the page.
async fn shown_pin(dashboard: &Dashboard) -> String {
    let pin = dashboard.browser.evaluate("document.querySelector('.pin').innerText.replace(/\\D/g, '')").await;
    pin.as_str().unwrap().to_owned()
}

async fn no_pin_is_shown(dashboard: &Dashboard) {
    dashboard.browser.holds("!document.querySelector('.pin')").await;
}

/// Presses the button that lets a device in that shows this.
async fn allow(dashboard: &Dashboard, host: &TestHost, name: &str) {
    let number = request(host, name).await.match_number;
    dashboard.press(&format!("Allow: it shows {number}, {name}")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_by_pin_is_typed_allowed_or_rejected() {
    let host = TestHost::start(many).await;
    let dashboard = Dashboard::open(&host).await;
    let driver = dashboard.browser.driver().clone();
    let [first, second] = dashboard.second_window(&host).await;
    let phone = Phone::new(&host);

    // Typed on the device, as it stands on the page.
    let ipad = phone.ask("iPad").await;
    dashboard.says("iPad asks to pair").await;
    dashboard.says("iPad16,3").await;
    let number = request(&host, "iPad").await.match_number;
    dashboard.says(&format!("only if the device shows {number}:")).await;
    let first_button = "document.querySelector('.wanted .main')?.innerText ?? 'none'";
    assert_eq!(dashboard.browser.evaluate(first_button).await, json!("none"), "the PIN comes first");
    dashboard.look("pin").await;
    let pin = shown_pin(&dashboard).await;
    refused(phone.send(&ipad, &other(&pin)).await, 400, "CPL-1226");
    assert_eq!(phone.send(&ipad, &pin).await.0, 200);
    dashboard.says("iPad is paired.").await;
    no_pin_is_shown(&dashboard).await;

    // Allowed in one window: in the other it is gone, too.
    let id = phone.ask("Phone").await;
    driver.switch_to_window(first.clone()).await.unwrap();
    dashboard.says("Phone asks to pair").await;
    assert_eq!(phone.poll(&id).await.0, 202);
    allow(&dashboard, &host, "Phone").await;
    no_pin_is_shown(&dashboard).await;
    driver.switch_to_window(second).await.unwrap();
    no_pin_is_shown(&dashboard).await;
    assert_eq!(phone.poll(&id).await.0, 200);
    dashboard.says("Phone is paired.").await;

    // Rejected; and the terminal's no counts here.
    driver.switch_to_window(first).await.unwrap();
    let stranger = phone.ask("Stranger").await;
    dashboard.connect().await;
    dashboard.says("Stranger asks to pair").await;
    dashboard.look("pin-beside-code").await;
    dashboard.press("Reject Stranger").await;
    dashboard.says("Stranger was turned away.").await;
    refused(phone.poll(&stranger).await, 410, "CPL-1228");
    // Where the owner turned one away, none may ask for a minute.
    Phone::at(&host, [127, 0, 0, 2]).ask("Another").await;
    dashboard.says("Another asks to pair").await;
    Running::start(host.command(&["reject", "Another"])).succeeds(PATIENCE).await;
    no_pin_is_shown(&dashboard).await;

    // Who guesses is told of.
    let phone = Phone::at(&host, [127, 0, 0, 3]);
    let guesser = phone.ask("Guesser").await;
    dashboard.says("Guesser asks to pair").await;
    let wrong = other(&shown_pin(&dashboard).await);
    for _ in 0..3 {
        phone.send(&guesser, &wrong).await;
    }
    dashboard.says("Guesser was sent away: three PINs were wrong.").await;
}

/// Where the buttons of this device are on the page.
async fn places(dashboard: &Dashboard, name: &str) -> Value {
    let places = format!(
        "JSON.stringify([...document.querySelectorAll('.wanted button')].filter(b => b.ariaLabel.endsWith({}))
            .map(b => b.getBoundingClientRect()).map(r => [r.left + scrollX, r.top + scrollY]))",
        json!(format!(" {name}"))
    );
    dashboard.browser.evaluate(&places).await
}

#[tokio::test(flavor = "multi_thread")]
async fn no_button_moves_under_the_pointer_and_who_looks_like_another_is_not_let_in() {
    let host = TestHost::start(many).await;
    let dashboard = Dashboard::open(&host).await;
    let phones: Vec<_> = (2..7).map(|last| Phone::at(&host, [127, 0, 0, last])).collect();
    phones[0].ask("Stranger").await;
    dashboard.says("Stranger asks to pair").await;
    let mine = phones[1].ask("Anna's iPad").await;
    dashboard.says("Anna's iPad asks to pair").await;
    let before = places(&dashboard, "Anna's iPad").await;
    assert!(before.as_str().unwrap().matches(',').count() >= 3, "two buttons: {before}");

    // One that ends leaves its place, whatever else there is to tell; who comes later comes behind.
    let stranger = request(&host, "Stranger").await.id.to_string();
    assert_eq!(answer(&host, &stranger, "reject").await, 204);
    dashboard.says("Stranger no longer waits for its PIN.").await;
    dashboard.says("Stranger was turned away.").await;
    assert_eq!(places(&dashboard, "Anna's iPad").await, before);
    phones[2].ask("ANNA’S IPAD").await;
    dashboard.says("ANNA’S IPAD asks to pair").await;
    assert_eq!(places(&dashboard, "Anna's iPad").await, before);
    dashboard.look("pins-two").await;

    // Two that look the same.
    allow(&dashboard, &host, "Anna's iPad").await;
    dashboard.says("Another device that waits has the same name").await;
    dashboard.says("CPL-1231").await;
    assert_eq!(phones[1].poll(&mine).await.0, 202);
    assert_eq!(places(&dashboard, "Anna's iPad").await, before);
    dashboard.look("pins-alike").await;
    let waits = phones[4].ask("Waits").await;
    dashboard.says("Waits asks to pair").await;
    // The one that is meant is let in by what it shows: typed, and not by the number of the other.
    let [shown, other] =
        [request(&host, "Anna's iPad").await, request(&host, "ANNA’S IPAD").await].map(|it| it.match_number);
    dashboard.browser.holds("document.activeElement.matches('input.code')").await;
    dashboard.browser.press(format!("{other}\n")).await;
    dashboard.says("CPL-1233").await;
    assert_eq!(phones[1].poll(&mine).await.0, 202);
    dashboard.browser.press(format!("{shown}\n")).await;
    dashboard.says("Anna's iPad no longer waits for its PIN.").await;
    assert_eq!(phones[1].poll(&mine).await.0, 200);

    dashboard.press("Reject ANNA’S IPAD").await;
    dashboard.says("ANNA’S IPAD no longer waits for its PIN.").await;

    // Places are given up by a click, and all of them once nobody waits.
    dashboard.press("Dismiss: Stranger no longer waits for its PIN").await;
    dashboard.browser.holds("!document.body.innerText.includes('Stranger no longer')").await;
    assert_eq!(answer(&host, &waits, "reject").await, 204);
    dashboard.browser.holds("!document.querySelector('#pins')").await;
    phones[3].ask("Late").await;
    dashboard.says("Late asks to pair").await;
    let cards = dashboard.browser.evaluate("document.querySelectorAll('.pins-head ~ .card').length").await;
    assert_eq!(cards, json!(1));
}

/// Asks from as many addresses, each a source of its own.
async fn crowd(host: &TestHost, first: u8, count: u8) -> Vec<(Phone, String)> {
    let mut asking = Vec::new();
    for last in first..first + count {
        let phone = Phone::at(host, [127, 0, 0, 100 + last]);
        let id = phone.ask(&format!("Stranger {last}")).await;
        asking.push((phone, id));
    }
    asking
}

/// They take their requests back.
async fn leave(crowd: Vec<(Phone, String)>) {
    for (phone, id) in crowd {
        let answer = phone.http.delete(format!("{}/mobile/pairing/{id}", phone.base)).send().await.unwrap();
        assert_eq!(answer.status(), 204);
    }
}

async fn places_are_over(dashboard: &Dashboard, count: usize) {
    dashboard.browser.holds(&format!("document.querySelectorAll('.gone').length === {count}")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_keeps_its_place_however_many_others_end_until_the_owner_clears_them() {
    let host = TestHost::start(many).await;
    let dashboard = Dashboard::open(&host).await;
    let above = crowd(&host, 1, 20).await;
    dashboard.says("Stranger 20 asks to pair").await;
    Phone::new(&host).ask("Mine").await;
    dashboard.says("Mine asks to pair").await;
    let before = places(&dashboard, "Mine").await;
    assert!(before.as_str().unwrap().matches(',').count() >= 3, "two buttons: {before}");
    leave(above).await;
    places_are_over(&dashboard, 20).await;
    assert_eq!(places(&dashboard, "Mine").await, before);
    // More than there ever were at once, and up to the last place.
    for (first, count, over) in [(21, 20, 40), (41, 23, 63)] {
        let below = crowd(&host, first, count).await;
        dashboard.says(&format!("Stranger {} asks to pair", first + count - 1)).await;
        leave(below).await;
        places_are_over(&dashboard, over).await;
        assert_eq!(places(&dashboard, "Mine").await, before, "{over} are over");
    }

    // Who asks now takes nobody's place.
    let late = crowd(&host, 64, 2).await;
    dashboard.says("2 more ask.").await;
    assert_eq!(places(&dashboard, "Mine").await, before);
    assert_eq!(dashboard.browser.evaluate("document.querySelectorAll('.wanted').length").await, json!(1));
    dashboard.press("Clear ended: 63 requests").await;
    places_are_over(&dashboard, 0).await;
    dashboard.says("Stranger 65 asks to pair").await;
    dashboard.browser.holds("document.activeElement.id === 'pins'").await;
    assert_eq!(dashboard.browser.evaluate("document.body.innerText.includes('more ask')").await, json!(false));
    leave(late).await;
    places_are_over(&dashboard, 2).await;
    allow(&dashboard, &host, "Mine").await;
    dashboard.browser.holds("!document.querySelector('#pins')").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_that_ask_are_rejected_after_one_question_and_nobody_else() {
    let host = TestHost::start(many).await;
    let dashboard = Dashboard::open(&host).await;
    let mut asking = crowd(&host, 1, 1).await;
    dashboard.says("Stranger 1 asks to pair").await;
    assert_eq!(dashboard.browser.evaluate("document.body.innerText.includes('Reject all')").await, json!(false));
    let before = places(&dashboard, "Stranger 1").await;
    asking.extend(crowd(&host, 2, 2).await);
    dashboard.says("Stranger 3 asks to pair").await;
    assert_eq!(places(&dashboard, "Stranger 1").await, before, "what comes above moves nothing");
    dashboard.look("pins-many").await;

    dashboard.press("Reject all 3 devices that ask to pair by PIN").await;
    dashboard.says("Stranger 1, Stranger 2 and Stranger 3 are turned away.").await;
    dashboard.look("pins-reject-all").await;
    dashboard.press("Cancel").await;
    dashboard.browser.holds("document.activeElement.innerText === 'Reject all'").await;
    for (phone, id) in &asking {
        assert_eq!(phone.poll(id).await.0, 202);
    }

    // Who asks while the owner is asked was not meant; who is over already is no hindrance.
    dashboard.press("Reject all 3 devices that ask to pair by PIN").await;
    dashboard.browser.shows("dialog").await;
    let late = crowd(&host, 9, 1).await;
    dashboard.says("Stranger 9 asks to pair").await;
    let (gone, rejected) = (asking.remove(0), asking);
    leave(vec![gone]).await;
    dashboard.press("Reject all").await;
    dashboard.browser.holds("!document.querySelector('dialog')").await;
    places_are_over(&dashboard, 3).await;
    for (phone, id) in &rejected {
        refused(phone.poll(id).await, 410, "CPL-1228");
    }
    assert_eq!(late[0].0.poll(&late[0].1).await.0, 202);
    dashboard.look("pins-ended").await;
}

/// The way in without a camera and without a link, the owner at the dashboard all the while.
#[tokio::test(flavor = "multi_thread")]
async fn a_laptop_is_paired_by_the_pin_on_the_page_and_let_in_there_by_its_check_code() {
    let (app, laptop) = (TestApp::start().await, Laptop::new());
    let host = TestHost::start(|setup| {
        setup.app(app.url());
    })
    .await;
    let dashboard = Dashboard::open(&host).await;
    let terminal = Terminal::start(&laptop.command(&[host.pairing_url(), "--name", "Laptop"]), 100, 40).await;
    dashboard.says("Laptop asks to pair").await;
    let number = request(&host, "Laptop").await.match_number;
    dashboard.says(&format!("only if the device shows {number}:")).await;
    terminal
        .shows("the number and the question", PATIENCE, |screen| {
            screen.has(&format!("Number {number}")) && screen.has("PIN:")
        })
        .await;
    let pin = shown_pin(&dashboard).await;
    terminal.press(&[&pin, "Enter"]).await;
    let screen = terminal.shows("the check code", PATIENCE, |screen| check_code(&screen.text()).is_some()).await;
    dashboard.says("Let Laptop in?").await;
    no_pin_is_shown(&dashboard).await;
    dashboard.look("pin-then-code").await;
    dashboard.browser.click("input.code").await;
    dashboard.browser.press(check_code(&screen.text()).unwrap()).await;
    dashboard.press("Approve").await;
    terminal.shows("the question", PATIENCE, |screen| screen.has("Did it? yes or no:")).await;
    terminal.press(&["y", "e", "s", "Enter"]).await;
    dashboard.says("Laptop is paired.").await;
    let app_url = |screen: &Screen| screen.word("http://127.").filter(|url| url != host.pairing_url());
    let screen = terminal.shows("where the app is", PATIENCE, |screen| app_url(screen).is_some()).await;
    assert!(screen.has("Paired with"), "{}", screen.text());
    dashboard.says("computer").await;
    terminal.press(&["C-c"]).await;
    assert_eq!(terminal.end(PATIENCE).await.0, 0);
}
