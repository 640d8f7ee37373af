//! Graphs as the editor saves them, against the API's form of each.

use serde_json::{Value, json};

use super::super::graph::{Graph, Link};

/// A node of the editor: inputs are name, type, link.
fn node(id: u64, class: &str, inputs: &[(&str, &str, Option<u64>)], outputs: &[&str], values: Value) -> Value {
    let inputs: Vec<Value> =
        inputs.iter().map(|(name, kind, link)| json!({"name": name, "type": kind, "link": link})).collect();
    let outputs: Vec<Value> = outputs.iter().map(|kind| json!({"name": kind, "type": kind})).collect();
    json!({"id": id, "type": class, "mode": 0, "inputs": inputs, "outputs": outputs, "widgets_values": values})
}

/// A picture of a text with one box.
fn plain() -> Value {
    let nodes = json!([
        node(1, "CheckpointLoaderSimple", &[], &["MODEL", "CLIP", "VAE"], json!(["miniature.safetensors"])),
        node(2, "CLIPTextEncode", &[("clip", "CLIP", Some(1))], &["CONDITIONING"], json!(["a red car"])),
        node(3, "CLIPTextEncode", &[("clip", "CLIP", Some(2))], &["CONDITIONING"], json!(["blurry"])),
        node(4, "EmptyLatentImage", &[], &["LATENT"], json!([128, 64, 1])),
        node(
            5,
            "KSampler",
            &[
                ("model", "MODEL", Some(3)),
                ("positive", "CONDITIONING", Some(9)),
                ("negative", "CONDITIONING", Some(5)),
                ("latent_image", "LATENT", Some(6))
            ],
            &["LATENT"],
            json!([7, "randomize", 20, 8, "euler", "normal", 1])
        ),
        node(6, "VAEDecode", &[("samples", "LATENT", Some(7)), ("vae", "VAE", Some(8))], &["IMAGE"], json!([])),
        node(7, "SaveImage", &[("images", "IMAGE", Some(10))], &[], json!(["x"])),
        node(
            8,
            "GLIGENTextBoxApply",
            &[
                ("conditioning_to", "CONDITIONING", Some(4)),
                ("clip", "CLIP", Some(11)),
                ("gligen_textbox_model", "GLIGEN", Some(12))
            ],
            &["CONDITIONING"],
            json!(["a red car", 64, 48, 8, 16])
        ),
        node(9, "GLIGENLoader", &[], &["GLIGEN"], json!(["gligen.safetensors"])),
    ]);
    let links = json!([
        [1, 1, 1, 2, 0, "CLIP"],
        [2, 1, 1, 3, 0, "CLIP"],
        [3, 1, 0, 5, 0, "MODEL"],
        [4, 2, 0, 8, 0, "CONDITIONING"],
        [5, 3, 0, 5, 2, "CONDITIONING"],
        [6, 4, 0, 5, 3, "LATENT"],
        [7, 5, 0, 6, 0, "LATENT"],
        [8, 1, 2, 6, 1, "VAE"],
        [9, 8, 0, 5, 1, "CONDITIONING"],
        [10, 6, 0, 7, 0, "IMAGE"],
        [11, 1, 1, 8, 1, "CLIP"],
        [12, 9, 0, 8, 2, "GLIGEN"]
    ]);
    json!({"nodes": nodes, "links": links, "version": 0.4})
}

fn graph(document: &Value) -> Graph {
    Graph::parse(&document.to_string()).unwrap()
}

fn push(document: &mut Value, list: &str, value: Value) {
    document[list].as_array_mut().unwrap().push(value);
}

/// The node and output behind an input.
fn link(graph: &Graph, id: &str, input: &str) -> Option<(String, usize)> {
    graph.node(id).unwrap().1.link(input).map(|Link { node, output }| (node, output))
}

fn from(node: &str, output: usize) -> Option<(String, usize)> {
    Some((node.to_owned(), output))
}

fn has(graph: &Graph, id: &str) -> bool {
    graph.node(id).is_ok()
}

fn value<'a>(graph: &'a Graph, id: &str, input: &str) -> &'a Value {
    graph.node(id).unwrap().1.inputs.get(input).unwrap_or(&Value::Null)
}

#[test]
fn links_as_objects_ids_as_texts_and_values_by_name_are_the_same_graph() {
    let plain = plain();
    let mut other = plain.clone();
    for link in other["links"].as_array_mut().unwrap() {
        let parts = link.as_array().unwrap().clone();
        *link = json!({"id": parts[0], "origin_id": parts[1], "origin_slot": parts[2], "target_id": parts[3], "target_slot": parts[4].to_string(),
            "type": parts[5], "parentId": 77});
    }
    other["reroutes"] = json!([{"id": 77, "pos": [0, 0], "linkIds": [1]}]);
    for node in other["nodes"].as_array_mut().unwrap() {
        node["id"] = node["id"].to_string().into();
    }
    for link in other["links"].as_array_mut().unwrap() {
        link["origin_id"] = link["origin_id"].to_string().into();
    }
    other["nodes"][3]["widgets_values"] = json!({"width": 128, "height": 64, "batch_size": 1});
    assert_eq!(graph(&other), graph(&plain));
    assert_eq!(link(&graph(&plain), "5", "positive"), from("8", 0));
    assert_eq!(value(&graph(&plain), "5", "steps"), 20);
}

#[test]
fn bypassed_nodes_hand_on_what_fits_and_muted_ones_nothing() {
    let mut document = plain();
    document["nodes"][7]["mode"] = json!(4);
    let bypassed = graph(&document);
    assert_eq!(link(&bypassed, "5", "positive"), from("2", 0));
    assert!(!has(&bypassed, "8"));

    document["nodes"][7]["mode"] = json!(2);
    let muted = graph(&document);
    assert_eq!((link(&muted, "5", "positive"), has(&muted, "8")), (None, false));

    // Output 1 of a LoRA goes on from input 1, whatever there is that fits at other places.
    let mut document = plain();
    let lora = node(
        20,
        "LoraLoader",
        &[("model", "MODEL", Some(20)), ("clip", "CLIP", Some(21))],
        &["MODEL", "CLIP"],
        json!(["l", 1, 1]),
    );
    push(&mut document, "nodes", lora);
    document["nodes"][9]["mode"] = json!(4);
    for link in [json!([20, 1, 0, 20, 0, "MODEL"]), json!([21, 1, 1, 20, 1, "CLIP"])] {
        push(&mut document, "links", link);
    }
    document["links"][0] = json!([1, 20, 1, 2, 0, "CLIP"]);
    document["links"][2] = json!([3, 20, 0, 5, 0, "MODEL"]);
    let without = graph(&document);
    assert_eq!((link(&without, "2", "clip"), link(&without, "5", "model")), (from("1", 1), from("1", 0)));

    // Another node has a fitting input elsewhere, or none.
    document["nodes"][9]["inputs"] =
        json!([{"name": "a", "type": "IMAGE", "link": null}, {"name": "m", "type": "MODEL", "link": 20}]);
    let elsewhere = graph(&document);
    assert_eq!((link(&elsewhere, "5", "model"), link(&elsewhere, "2", "clip")), (from("1", 0), None));
}

#[test]
fn links_go_through_reroutes_bypassed_nodes_and_named_links() {
    let mut document = plain();
    for new in [
        node(20, "Reroute", &[("", "*", Some(20))], &["MODEL"], json!([])),
        node(21, "Reroute", &[("", "*", Some(21))], &["*"], json!([])),
        node(22, "SetNode", &[("MODEL", "MODEL", Some(22))], &["*"], json!(["the model"])),
        node(23, "GetNode", &[], &["MODEL"], json!(["the model"])),
    ] {
        push(&mut document, "nodes", new);
    }
    document["links"][2] = json!([3, 23, 0, 5, 0, "MODEL"]);
    for link in [json!([20, 1, 0, 20, 0, "*"]), json!([21, 20, 0, 21, 0, "*"]), json!([22, 21, 0, 22, 0, "*"])] {
        push(&mut document, "links", link);
    }
    let through = graph(&document);
    assert_eq!(link(&through, "5", "model"), from("1", 0));
    assert!(!["20", "21", "22", "23"].iter().any(|id| has(&through, id)));

    // A reroute that leads to itself.
    document["links"][12] = json!([20, 21, 0, 20, 0, "*"]);
    let problem = Graph::parse(&document.to_string()).unwrap_err();
    assert!(problem.contains("node `5` goes in circles"), "{problem}");
}

#[test]
fn primitives_give_their_values() {
    let mut document = plain();
    push(&mut document, "nodes", node(20, "PrimitiveNode", &[], &["INT"], json!([4711, "fixed"])));
    push(&mut document, "nodes", node(21, "PrimitiveStringMultiline", &[], &["STRING"], json!(["a blue car"])));
    let widget = |name: &str, link: u64| json!({"name": name, "type": "INT", "link": link, "widget": {"name": name}});
    document["nodes"][4]["inputs"].as_array_mut().unwrap().push(widget("seed", 20));
    document["nodes"][1]["inputs"].as_array_mut().unwrap().push(widget("text", 21));
    push(&mut document, "links", json!([20, 20, 0, 5, 4, "INT"]));
    push(&mut document, "links", json!([21, 21, 0, 2, 1, "STRING"]));
    let graph = graph(&document);
    assert_eq!(value(&graph, "5", "seed"), 4711);
    assert_eq!(value(&graph, "5", "steps"), 20);
    assert_eq!((link(&graph, "2", "text"), value(&graph, "21", "value")), (from("21", 0), &json!("a blue car")));
    assert!(!has(&graph, "20"));
}

#[test]
fn an_input_without_a_link_keeps_its_value() {
    let mut document = plain();
    let converted = json!({"name": "seed", "type": "INT", "link": null, "widget": {"name": "seed"}});
    document["nodes"][4]["inputs"].as_array_mut().unwrap().push(converted);
    assert_eq!(value(&graph(&document), "5", "seed"), 7);
}

#[test]
fn remarks_are_no_nodes_and_choices_are_told() {
    let mut document = plain();
    push(&mut document, "nodes", json!({"id": 30, "type": "MarkdownNote", "widgets_values": ["text"]}));
    document["nodes"][1]["widgets_values"] = json!(["a {red|blue} car /* or a bus */"]);
    let graph = graph(&document);
    assert!(!has(&graph, "30"));
    assert_eq!(value(&graph, "2", "text"), "a red car ");
    assert!(graph.notes[0].contains("node `2` (CLIPTextEncode) leaves a choice"), "{:?}", graph.notes);
}

/// The sampler and the box in a subgraph, with a seed, a text and steps that its node says.
fn with_subgraph() -> Value {
    let mut document = plain();
    let nodes = document["nodes"].as_array_mut().unwrap();
    let mut gligen = nodes.remove(7);
    let mut sampler = nodes.remove(4);
    for (input, link) in [(0, 51), (1, 52), (2, 53)] {
        gligen["inputs"][input]["link"] = json!(link);
    }
    let text = json!({"name": "text", "type": "STRING", "link": 57, "widget": {"name": "text"}});
    gligen["inputs"].as_array_mut().unwrap().push(text);
    for (input, link) in [(0, 50), (1, 54), (2, 55), (3, 56)] {
        sampler["inputs"][input]["link"] = json!(link);
    }
    let seed = json!({"name": "seed", "type": "INT", "link": 58, "widget": {"name": "seed"}});
    sampler["inputs"].as_array_mut().unwrap().push(seed);
    let host = json!({"id": 40, "type": "aaaa-bbbb", "mode": 0,
        "inputs": [{"name": "model", "type": "MODEL", "link": 3}, {"name": "conditioning", "type": "CONDITIONING", "link": 4},
            {"name": "clip", "type": "CLIP", "link": 11}, {"name": "gligen", "type": "GLIGEN", "link": 12},
            {"name": "negative", "type": "CONDITIONING", "link": 5}, {"name": "latent", "type": "LATENT", "link": 6}],
        "outputs": [{"name": "LATENT", "type": "LATENT", "links": [7]}], "widgets_values": ["a green car", 99]});
    nodes.push(host);
    let within = |id: u64, origin: i64, output: u64, target: i64, input: u64| json!({"id": id, "origin_id": origin, "origin_slot": output, "target_id": target, "target_slot": input, "type": "*"});
    document["definitions"] = json!({"subgraphs": [{
        "id": "aaaa-bbbb", "name": "Sample", "inputNode": {"id": -10}, "outputNode": {"id": -20},
        // The node's own list leaves out the two that are values.
        "inputs": [{"name": "text"}, {"name": "model"}, {"name": "conditioning"}, {"name": "clip"}, {"name": "gligen"}, {"name": "negative"},
            {"name": "latent"}, {"name": "seed"}],
        "outputs": [{"name": "LATENT"}],
        "nodes": [gligen, sampler],
        "links": [within(57, -10, 0, 8, 3), within(50, -10, 1, 5, 0), within(51, -10, 2, 8, 0), within(52, -10, 3, 8, 1),
            within(53, -10, 4, 8, 2), within(55, -10, 5, 5, 2), within(56, -10, 6, 5, 3), within(58, -10, 7, 5, 4),
            within(54, 8, 0, 5, 1), within(59, 5, 0, -20, 0)]}]});
    for (link, part, end) in [(2, 3, 40), (3, 3, 40), (4, 3, 40), (5, 3, 40), (10, 3, 40), (11, 3, 40), (6, 1, 40)] {
        document["links"][link][part] = json!(end);
    }
    document
}

#[test]
fn subgraphs_are_taken_apart() {
    let apart = graph(&with_subgraph());
    for (id, input, expected) in [
        ("6", "samples", from("40:5", 0)),
        ("40:5", "model", from("1", 0)),
        ("40:5", "positive", from("40:8", 0)),
        ("40:5", "negative", from("3", 0)),
        ("40:5", "latent_image", from("4", 0)),
        ("40:8", "conditioning_to", from("2", 0)),
        ("40:8", "gligen_textbox_model", from("9", 0)),
    ] {
        assert_eq!(link(&apart, id, input), expected, "{input} of {id}");
    }
    assert_eq!((value(&apart, "40:8", "text"), value(&apart, "40:5", "seed")), (&json!("a green car"), &json!(99)));
    assert_eq!(value(&apart, "40:5", "steps"), 20);
    assert!(!has(&apart, "40"));
}

#[test]
fn newer_files_say_whose_values_a_subgraphs_node_has() {
    let mut document = with_subgraph();
    let host = document["nodes"].as_array().unwrap().len() - 1;
    document["nodes"][host]["properties"] =
        json!({"proxyWidgets": [["5", "steps"], ["-1", "text"], ["8", "8: width"], ["5", "cfg"]]});
    document["nodes"][host]["widgets_values"] = json!([12, "a white car", 32, null]);
    let graph = graph(&document);
    assert_eq!((value(&graph, "40:5", "steps"), value(&graph, "40:5", "cfg")), (&json!(12), &json!(8)));
    assert_eq!((value(&graph, "40:8", "text"), value(&graph, "40:8", "width")), (&json!("a white car"), &json!(32)));
    // What nobody says outside stands as it is inside.
    assert_eq!(value(&graph, "40:5", "seed"), 7);
}

#[test]
fn a_subgraphs_node_can_be_bypassed_and_muted() {
    let mut document = with_subgraph();
    let host = document["nodes"].as_array().unwrap().len() - 1;
    document["nodes"][host]["mode"] = json!(4);
    let bypassed = graph(&document);
    assert_eq!((link(&bypassed, "6", "samples"), has(&bypassed, "40:5")), (from("4", 0), false));
    document["nodes"][host]["mode"] = json!(2);
    assert_eq!(link(&graph(&document), "6", "samples"), None);
}

#[test]
fn subgraphs_lie_in_each_other_and_not_in_themselves() {
    let mut document = with_subgraph();
    // An outer one that holds nothing but a node of the inner.
    let inner = document["definitions"]["subgraphs"][0].clone();
    let mut outer = inner.clone();
    outer["id"] = json!("outer");
    let names: Vec<&str> = vec!["text", "model", "conditioning", "clip", "gligen", "negative", "latent", "seed"];
    let inputs: Vec<Value> = names
        .iter()
        .enumerate()
        .map(|(place, name)| {
            json!({"name": name, "link": 60 + place,
        "widget": if ["text", "seed"].contains(name) { json!({"name": name}) } else { Value::Null }})
        })
        .collect();
    outer["nodes"] = json!([{"id": 70, "type": "aaaa-bbbb", "inputs": inputs, "outputs": [{"type": "LATENT"}], "widgets_values": ["unused", 1]}]);
    let mut links: Vec<Value> = (0..8).map(|place| json!([60 + place, -10, place, 70, place, "*"])).collect();
    links.push(json!([69, 70, 0, -20, 0, "*"]));
    outer["links"] = links.into();
    // Definitions may stand within others.
    outer["definitions"] = json!({"subgraphs": [inner]});
    document["definitions"]["subgraphs"] = json!([outer]);
    let host = document["nodes"].as_array().unwrap().len() - 1;
    document["nodes"][host]["type"] = json!("outer");
    let nested = graph(&document);
    assert_eq!(
        (link(&nested, "6", "samples"), link(&nested, "40:70:8", "conditioning_to")),
        (from("40:70:5", 0), from("2", 0))
    );
    assert_eq!(
        (value(&nested, "40:70:8", "text"), value(&nested, "40:70:5", "seed")),
        (&json!("a green car"), &json!(99))
    );

    document["definitions"]["subgraphs"][0]["nodes"][0]["type"] = json!("outer");
    let problem = Graph::parse(&document.to_string()).unwrap_err();
    assert!(problem.contains("subgraphs lie deeper than 32"), "{problem}");
    // Each level twice as wide: refused before it fills the memory.
    let node = document["definitions"]["subgraphs"][0]["nodes"][0].clone();
    document["definitions"]["subgraphs"][0]["nodes"] = json!([node.clone(), node.clone(), node.clone(), node]);
    let problem = Graph::parse(&document.to_string()).unwrap_err();
    assert!(problem.contains("more than 5000 nodes"), "{problem}");
}

/// Group nodes name inputs after those inside, with the node's title before what is there already.
#[test]
fn group_nodes_are_taken_apart() {
    let document = json!({"version": 0.4, "nodes": [
        node(4, "EmptyLatentImage", &[], &["LATENT"], json!([128, 64, 1])),
        json!({"id": 10, "type": "workflow>Two texts", "inputs": [{"name": "latent_image", "type": "LATENT", "link": 1}],
            "outputs": [{"type": "IMAGE", "links": [2]}],
            "widgets_values": ["m.safetensors", "a red car", "blurry", 5, "fixed", 9, 8, "euler", "normal", 1]}),
        node(7, "SaveImage", &[("images", "IMAGE", Some(2))], &[], json!(["x"])),
    ], "links": [[1, 4, 0, 10, 0, "LATENT"], [2, 10, 0, 7, 0, "IMAGE"]], "extra": {"groupNodes": {"Two texts": {
        "nodes": [
            node(0, "CheckpointLoaderSimple", &[], &["MODEL", "CLIP", "VAE"], json!(["old.ckpt"])),
            node(0, "CLIPTextEncode", &[("clip", "CLIP", None)], &["CONDITIONING"], json!(["old"])),
            node(0, "CLIPTextEncode", &[("clip", "CLIP", None)], &["CONDITIONING"], json!(["old"])),
            node(0, "KSampler", &[("model", "MODEL", None), ("positive", "CONDITIONING", None), ("negative", "CONDITIONING", None),
                ("latent_image", "LATENT", None)], &["LATENT"], json!([1, "randomize", 2, 3, "ddim", "karras", 1])),
            node(0, "VAEDecode", &[("samples", "LATENT", None), ("vae", "VAE", None)], &["IMAGE"], json!([])),
        ],
        "links": [[0, 1, 1, 0, 1, "CLIP"], [0, 1, 2, 0, 1, "CLIP"], [0, 0, 3, 0, 1, "MODEL"], [1, 0, 3, 1, 2, "CONDITIONING"],
            [2, 0, 3, 2, 3, "CONDITIONING"], [3, 0, 4, 0, 4, "LATENT"], [0, 2, 4, 1, 1, "VAE"]],
        "external": []}}}});
    let apart = graph(&document);
    for (id, input, expected) in [
        ("7", "images", from("10:4", 0)),
        ("10:4", "samples", from("10:3", 0)),
        ("10:4", "vae", from("10:0", 2)),
        ("10:3", "latent_image", from("4", 0)),
        ("10:3", "negative", from("10:2", 0)),
        ("10:2", "clip", from("10:0", 1)),
    ] {
        assert_eq!(link(&apart, id, input), expected, "{input} of {id}");
    }
    for (id, input, expected) in [
        ("10:0", "ckpt_name", json!("m.safetensors")),
        ("10:1", "text", json!("a red car")),
        ("10:2", "text", json!("blurry")),
        ("10:3", "seed", json!(5)),
        ("10:3", "steps", json!(9)),
        ("10:3", "sampler_name", json!("euler")),
    ] {
        assert_eq!(value(&apart, id, input), &expected, "{input} of {id}");
    }
    assert!(!has(&apart, "10"));
}

#[test]
fn broken_files_are_refused_or_read_as_far_as_they_go() {
    // Links to what is not there.
    let mut document = plain();
    document["links"][2] = json!([3, 77, 0, 5, 0, "MODEL"]);
    document["links"][3] = json!("nonsense");
    document["links"][4] = json!([5]);
    let graph = graph(&document);
    assert_eq!(
        (link(&graph, "5", "model"), link(&graph, "8", "conditioning_to"), link(&graph, "5", "negative")),
        (None, None, None)
    );
    for broken in [
        json!({"nodes": [{"type": "KSampler"}]}),
        json!({"nodes": [7]}),
        json!({"nodes": [{"id": 1, "type": "Reroute"}], "links": {}}),
    ] {
        assert!(Graph::parse(&broken.to_string()).is_err(), "{broken}");
    }
}

/// A graph with `count` nodes that each show a group.
fn groups(count: usize, group: &Value) -> String {
    let shown: Vec<Value> = (0..count).map(|id| json!({"id": id, "type": "workflow>Many"})).collect();
    json!({"nodes": shown, "links": [], "extra": {"groupNodes": {"Many": group}}}).to_string()
}

#[test]
fn what_is_shown_many_times_is_counted_before_it_is_made() {
    let many: Vec<Value> = (0..30_000).map(|_| json!({"type": "VAEDecode"})).collect();
    let problem = Graph::parse(&groups(2000, &json!({"nodes": many}))).unwrap_err();
    assert!(problem.contains("more than 5000 nodes"), "{problem}");
    let one = |text: &str| json!({"nodes": [{"type": "CLIPTextEncode", "widgets_values": [text]}]});
    assert!(Graph::parse(&groups(200, &one("a car"))).is_ok());
    let problem = Graph::parse(&groups(200, &one(&"a".repeat(1 << 20)))).unwrap_err();
    assert!(problem.contains("written out with its subgraphs"), "{problem}");
    // The same in a subgraph, and of a value that many nodes are given.
    let shown: Vec<Value> = (0..200).map(|id| json!({"id": id, "type": "uuid"})).collect();
    let inside = node(1, "CLIPTextEncode", &[], &["CONDITIONING"], json!(["a".repeat(1 << 20)]));
    let subgraph = json!({"nodes": shown, "definitions": {"subgraphs": [{"id": "uuid", "nodes": [inside]}]}});
    let problem = Graph::parse(&subgraph.to_string()).unwrap_err();
    assert!(problem.contains("written out with its subgraphs"), "{problem}");
    let text = node(0, "PrimitiveNode", &[], &["STRING"], json!(["a".repeat(1 << 20)]));
    let readers = (1..200).map(|id| node(id, "CLIPTextEncode", &[("text", "STRING", Some(id))], &[], json!([])));
    let links: Vec<Value> = (1..200).map(|id| json!([id, 0, 0, id, 0, "STRING"])).collect();
    let nodes: Vec<Value> = [text].into_iter().chain(readers).collect();
    let given = json!({"nodes": nodes, "links": links});
    let problem = Graph::parse(&given.to_string()).unwrap_err();
    assert!(problem.contains("written out with its subgraphs"), "{problem}");
}

#[test]
fn hops_are_counted_for_the_whole_graph() {
    let chain = |readers: u64| {
        let mut nodes = vec![node(0, "EmptyLatentImage", &[], &["LATENT"], json!([64, 64, 1]))];
        nodes.extend((1..900).map(|id| node(id, "Reroute", &[("", "*", Some(id))], &["*"], json!([]))));
        let mut links: Vec<Value> = (1..900).map(|id| json!([id, id - 1, 0, id, 0, "*"])).collect();
        for id in 1000..1000 + readers {
            nodes.push(node(id, "VAEDecode", &[("samples", "LATENT", Some(id))], &["IMAGE"], json!([])));
            links.push(json!([id, 899, 0, id, 0, "LATENT"]));
        }
        Graph::parse(&json!({"nodes": nodes, "links": links}).to_string())
    };
    assert_eq!(link(&chain(2).unwrap(), "1001", "samples"), from("0", 0));
    assert!(chain(500).unwrap_err().contains("more than 100000 hops"));
}

#[test]
fn links_by_name_come_from_the_first_of_that_name() {
    let mut document = plain();
    let get = node(30, "GetNode", &[], &["CONDITIONING"], json!(["words"]));
    let set = |id: u64, from: u64| {
        node(id, "SetNode", &[("CONDITIONING", "CONDITIONING", Some(from))], &[], json!(["words"]))
    };
    [get, set(31, 31), set(32, 32)].into_iter().for_each(|node| push(&mut document, "nodes", node));
    push(&mut document, "links", json!([31, 2, 0, 31, 0, "CONDITIONING"]));
    push(&mut document, "links", json!([32, 3, 0, 32, 0, "CONDITIONING"]));
    document["links"][8] = json!([9, 30, 0, 5, 1, "CONDITIONING"]);
    assert_eq!(link(&graph(&document), "5", "positive"), from("2", 0));
}
