//! The rules of nftables, as `nft -j list ruleset` tells them: whether a port is shut for certain.

use std::fmt;

use serde::Deserialize;
use serde_json::Value;

/// Whether what comes to a port passes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It does, or a rule may let it pass that cannot be judged from here.
    Passes,
    /// This chain drops it.
    Shut(Chain),
}

/// A chain, as `nft` takes it: `inet filter input`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Chain {
    family: String,
    table: String,
    name: String,
}

impl fmt::Display for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.family, self.table, self.name)
    }
}

#[derive(Deserialize)]
struct Ruleset {
    nftables: Vec<Value>,
}

/// Looks for a chain of incoming packets that drops what no rule accepts, without any rule that could be about the port.
pub(super) fn judge(json: &str, port: u16) -> Verdict {
    let Ok(ruleset) = serde_json::from_str::<Ruleset>(json) else { return Verdict::Passes };
    let rules: Vec<&Value> = ruleset.nftables.iter().filter_map(|object| object.get("rule")).collect();
    let chains = ruleset.nftables.iter().filter_map(|object| object.get("chain"));
    let input = chains.filter(|chain| chain["hook"] == "input");
    for chain in input {
        let text = |key: &str| chain[key].as_str().unwrap_or_default().to_owned();
        let is_here = |rule: &&&Value| rule["family"] == chain["family"] && rule["table"] == chain["table"];
        let mut of_chain = rules.iter().filter(is_here).filter(|rule| rule["chain"] == chain["name"]);
        let drops = chain["policy"] == "drop" || of_chain.next_back().is_some_and(|rule| drops_all(rule));
        // A rule in a chain that this one jumps to counts as well.
        let accepts = rules.iter().filter(is_here).any(|rule| may_accept(rule, port));
        if drops && !accepts {
            return Verdict::Shut(Chain { family: text("family"), table: text("table"), name: text("name") });
        }
    }
    Verdict::Passes
}

fn expressions(rule: &Value) -> &[Value] {
    rule["expr"].as_array().map_or(&[], Vec::as_slice)
}

fn has(rule: &Value, key: &str) -> bool {
    expressions(rule).iter().any(|expression| expression.get(key).is_some())
}

/// Whether a rule, a chain's last one, drops whatever comes to it.
fn drops_all(rule: &Value) -> bool {
    let is_plain = !has(rule, "match") && !has(rule, "xt") && !has(rule, "limit");
    is_plain && (has(rule, "drop") || has(rule, "reject"))
}

/// Whether a rule accepts connections to the port from another machine, or could.
fn may_accept(rule: &Value, port: u16) -> bool {
    if has(rule, "xt") {
        return true;
    }
    let maps: Vec<&Value> = expressions(rule).iter().filter_map(|expression| expression.get("vmap")).collect();
    if !has(rule, "accept") && maps.is_empty() {
        return false;
    }
    let mut matches = expressions(rule).iter().filter_map(|expression| expression.get("match"));
    matches.all(|one| may_match(one, port)) && maps.iter().all(|map| may_map(map, port))
}

/// Whether a map of verdicts, `ct state vmap { established : accept }`, can accept such a connection.
fn may_map(map: &Value, port: u16) -> bool {
    // A named one may hold anything.
    let Some(entries) = map["data"]["set"].as_array() else { return true };
    entries.iter().any(|entry| {
        let drops = entry[1].get("drop").is_some();
        !drops && may_match(&serde_json::json!({"op": "==", "left": map["key"], "right": entry[0]}), port)
    })
}

/// Whether a condition can be true of the first packet of such a connection.
fn may_match(condition: &Value, port: u16) -> bool {
    let (left, right) = (&condition["left"], &condition["right"]);
    let is_equal = condition["op"] == "==" || condition["op"] == "in";
    if !is_equal {
        return true;
    }
    match (left["payload"]["field"].as_str(), left["meta"]["key"].as_str()) {
        (Some("dport"), _) => left["payload"]["protocol"] != "udp" && holds(right, port),
        (Some("protocol" | "nexthdr"), _) | (_, Some("l4proto")) => names(right, "tcp"),
        (_, Some("iifname" | "iif")) => *right != "lo",
        _ if left["payload"]["protocol"].as_str().is_some_and(|name| name.starts_with("icmp")) => false,
        _ if left["ct"]["key"] == "state" => names(right, "new"),
        _ => true,
    }
}

fn names(right: &Value, name: &str) -> bool {
    let list = right.as_array().or_else(|| right["set"].as_array());
    // A named set may hold anything.
    let is_named_set = right.as_str().is_some_and(|text| text.starts_with('@'));
    is_named_set || *right == name || list.is_some_and(|list| list.iter().any(|item| item == name))
}

fn holds(right: &Value, port: u16) -> bool {
    if let Some(range) = right["range"].as_array() {
        let bound = |at: usize| range.get(at).and_then(Value::as_u64).unwrap_or_default();
        return (bound(0)..=bound(1)).contains(&u64::from(port));
    }
    if let Some(list) = right["set"].as_array() {
        return list.iter().any(|item| holds(item, port));
    }
    // A named set, or a service's name.
    right.as_u64().map_or(right.is_string(), |number| number == u64::from(port))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn ruleset(policy: &str, rules: &[Value]) -> String {
        let mut objects = vec![
            json!({"metainfo": {"version": "1.0.6"}}),
            json!({"table": {"family": "inet", "name": "filter", "handle": 1}}),
            json!({"chain": {"family": "inet", "table": "filter", "name": "input", "type": "filter", "hook": "input",
                "prio": 0, "policy": policy}}),
        ];
        objects.extend(
            rules
                .iter()
                .map(|expr| json!({"rule": {"family": "inet", "table": "filter", "chain": "input", "expr": expr}})),
        );
        json!({"nftables": objects}).to_string()
    }

    fn dport(right: &Value) -> Value {
        json!([{"match": {"op": "==", "left": {"payload": {"protocol": "tcp", "field": "dport"}}, "right": right}},
            {"accept": null}])
    }

    #[test]
    fn a_port_is_shut_only_when_nothing_could_let_it_pass() {
        let of = |policy: &str, rules: &[Value]| judge(&ruleset(policy, rules), 7878);
        let state = json!([{"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": ["established", "related"]}},
            {"accept": null}]);
        let lo =
            json!([{"match": {"op": "==", "left": {"meta": {"key": "iifname"}}, "right": "lo"}}, {"accept": null}]);
        let lan = json!([{"match": {"op": "==", "left": {"payload": {"protocol": "ip", "field": "saddr"}},
            "right": {"prefix": {"addr": "192.168.1.0", "len": 24}}}}, {"accept": null}]);
        let drop = json!([{"counter": {"packets": 0, "bytes": 0}}, {"drop": null}]);
        let shut = of("drop", &[state.clone(), lo.clone(), dport(&json!(22)), dport(&json!({"range": [1, 99]}))]);
        let Verdict::Shut(chain) = shut else { panic!("{shut:?}") };
        assert_eq!(chain.to_string(), "inet filter input");
        assert!(matches!(of("accept", &[state.clone(), drop.clone()]), Verdict::Shut(_)));
        let map =
            |key: &Value, entry: &Value| json!([{"vmap": {"key": key, "data": {"set": [[entry, {"accept": null}]]}}}]);
        let (states, ports) =
            (json!({"ct": {"key": "state"}}), json!({"payload": {"protocol": "tcp", "field": "dport"}}));
        let mapped = [map(&states, &json!("established")), map(&ports, &json!(22))];
        assert!(matches!(of("drop", &mapped), Verdict::Shut(_)));
        assert_eq!(of("drop", &[map(&ports, &json!(7878))]), Verdict::Passes);
        for rules in [
            vec![state.clone(), dport(&json!(7878))],
            vec![dport(&json!({"set": [22, {"range": [7000, 8000]}]}))],
            vec![dport(&json!("@open"))],
            vec![state.clone(), lan],
            vec![json!([{"accept": null}])],
        ] {
            assert_eq!(of("drop", &rules), Verdict::Passes, "{rules:?}");
        }
        assert_eq!(of("accept", &[state, lo]), Verdict::Passes);
        assert_eq!(judge("not json", 7878), Verdict::Passes);
    }
}
