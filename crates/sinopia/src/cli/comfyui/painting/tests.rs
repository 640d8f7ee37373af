//! What is read out of graphs in the API's form.

use serde_json::json;

use super::*;

/// A graph whose sampler's positive side is node 6.
fn graph(positive: &str) -> Graph {
    let text = format!(
        r#"{{"3": {{"class_type": "KSampler", "inputs": {{"seed": 7, "steps": 20, "cfg": 8, "sampler_name": "euler", "scheduler": "normal", "denoise": 1,
            "model": ["4", 0], "positive": ["6", 0], "negative": ["7", 0], "latent_image": ["5", 0]}}}},
        "4": {{"class_type": "CheckpointLoaderSimple", "inputs": {{"ckpt_name": "miniature.safetensors"}}}},
        "5": {{"class_type": "EmptyLatentImage", "inputs": {{"width": 128, "height": 128, "batch_size": 1}}}},
        "7": {{"class_type": "CLIPTextEncode", "inputs": {{"text": "blurry", "clip": ["4", 1]}}}},
        "8": {{"class_type": "VAEDecode", "inputs": {{"samples": ["3", 0], "vae": ["4", 2]}}}},
        "9": {{"class_type": "SaveImage", "inputs": {{"images": ["8", 0], "filename_prefix": "x"}}}},
        {positive}}}"#
    );
    Graph::parse(&text).unwrap()
}

/// What a graph asks for without any flag.
fn asks(graph: &Graph) -> anyhow::Result<Wanted> {
    read(graph, &Painting::default())
}

/// What a graph with a plain positive side asks for, once `change` was done to its JSON.
fn changed(flags: &Painting, change: impl FnOnce(&mut Value)) -> anyhow::Result<Wanted> {
    let mut json = graph(PLAIN).to_json();
    change(&mut json);
    read(&Graph::parse(&json.to_string()).unwrap(), flags)
}

const PLAIN: &str = r#""6": {"class_type": "CLIPTextEncode", "inputs": {"text": "a red car", "clip": ["4", 1]}}"#;

const ELLA: &str = r#""10": {"class_type": "ELLALoader", "inputs": {"name": "ella.safetensors"}},
    "11": {"class_type": "T5TextEncoderLoader #ELLA", "inputs": {"name": "flan-t5", "max_length": 0, "dtype": "FP16"}},
    "12": {"class_type": "T5TextEncode #ELLA", "inputs": {"text": "A red car on a wide beach.", "text_encoder": ["11", 0]}},
    "13": {"class_type": "SetEllaTimesteps", "inputs": {"model": ["4", 0], "ella": ["10", 0], "scheduler": "normal", "steps": 20, "denoise": 1}}"#;

#[test]
fn a_plain_graph_is_sd() {
    let wanted =
        asks(&graph(r#""6": {"class_type": "CLIPTextEncode", "inputs": {"text": "a red car", "clip": ["4", 1]}}"#))
            .unwrap();
    let args = wanted.spec.settings;
    assert_eq!((args.method.as_deref(), args.model.as_deref()), (Some("sd"), Some("miniature")));
    assert_eq!((wanted.spec.caption.as_deref(), args.negative.as_deref()), (Some("a red car"), Some("blurry")));
    assert_eq!(
        (args.scheduler.as_deref(), args.seed, args.steps, args.guidance_scale),
        (Some("euler-normal"), Some(7), Some(20), Some(8.0))
    );
    assert_eq!(args.text_encoder, Some(TextEncoderKind::Clip));
}

#[test]
fn boxes_are_gligens() {
    let wanted = asks(&graph(
        r#""6": {"class_type": "GLIGENTextBoxApply", "inputs": {"conditioning_to": ["14", 0], "clip": ["4", 1], "gligen_textbox_model": ["15", 0],
            "text": "a red car", "width": 64, "height": 48, "x": 8, "y": 16}},
        "14": {"class_type": "CLIPTextEncode", "inputs": {"text": "a red car on a beach", "clip": ["4", 1]}},
        "15": {"class_type": "GLIGENLoader", "inputs": {"gligen_name": "gligen.safetensors"}}"#,
    ))
    .unwrap();
    let layout = wanted.spec.layout.unwrap();
    let bbox = &layout.objects[0].bbox;
    assert_eq!((bbox.x(), bbox.y(), bbox.width(), bbox.height()), (8.0, 16.0, 64.0, 48.0));
    let options = serde_json::json!({"gligen_scheduled_sampling_beta": 1.0, "overall_prompt": "a red car on a beach"});
    assert_eq!(Value::Object(wanted.spec.settings.options), options);
}

#[test]
fn ella_alone_and_with_clip() {
    let alone =
        format!(r#"{ELLA}, "6": {{"class_type": "EllaEncode", "inputs": {{"ella": ["13", 0], "embeds": ["12", 0]}}}}"#);
    let wanted = asks(&graph(&alone)).unwrap();
    let text = wanted.spec.settings;
    assert_eq!((text.text_encoder, text.negative_encoder), (Some(TextEncoderKind::Ella), Some(TextEncoderKind::Clip)));
    assert_eq!((text.t5.as_deref(), text.ella.as_deref()), (Some("flan-t5"), Some("ella.safetensors")));
    assert_eq!(wanted.spec.caption.as_deref(), Some("A red car on a wide beach."));

    let both = format!(
        r#"{ELLA}, "16": {{"class_type": "EllaEncode", "inputs": {{"ella": ["13", 0], "embeds": ["12", 0]}}}},
        "17": {{"class_type": "CLIPTextEncode", "inputs": {{"text": "a red car", "clip": ["4", 1]}}}},
        "6": {{"class_type": "ConditioningConcat", "inputs": {{"conditioning_to": ["16", 0], "conditioning_from": ["17", 0]}}}}"#
    );
    let wanted = asks(&graph(&both)).unwrap();
    assert_eq!(wanted.spec.settings.text_encoder, Some(TextEncoderKind::EllaAndClip));
    assert_eq!(wanted.spec.settings.options["words"], "a red car");
}

#[test]
fn ella_applied_to_the_model_gives_both_sides() {
    let text = r#""6": {"class_type": "EllaApply", "inputs": {"model": ["4", 0], "ella": ["10", 0], "positive": ["12", 0], "negative": ["18", 0]}},
        "18": {"class_type": "T5TextEncode #ELLA", "inputs": {"text": "low quality", "text_encoder": ["11", 0]}}"#;
    let mut json = graph(&format!("{ELLA}, {text}")).to_json();
    json["3"]["inputs"]["model"] = serde_json::json!(["6", 0]);
    json["3"]["inputs"]["positive"] = serde_json::json!(["6", 1]);
    json["3"]["inputs"]["negative"] = serde_json::json!(["6", 2]);
    let wanted = asks(&Graph::parse(&json.to_string()).unwrap()).unwrap();
    assert_eq!(
        (wanted.spec.settings.text_encoder, wanted.spec.settings.negative_encoder),
        (Some(TextEncoderKind::Ella), None)
    );
    assert_eq!(wanted.spec.settings.negative.as_deref(), Some("low quality"));
}

/// ComfyUI-ELLA makes its tokens from its own text where steps are known beforehand; without them it puts CLIP's behind.
#[test]
fn what_clip_reads_counts_in_the_legacy_node_alone() {
    let applied = r#""6": {"class_type": "EllaApply", "inputs": {"model": ["4", 0], "ella": ["10", 0], "positive": ["19", 0], "negative": ["12", 0]}},
        "17": {"class_type": "CLIPTextEncode", "inputs": {"text": "a red car", "clip": ["4", 1]}},
        "19": {"class_type": "CombineClipEllaEmbeds", "inputs": {"cond": ["17", 0], "embeds": ["12", 0]}},
        "20": {"class_type": "BasicScheduler", "inputs": {"scheduler": "karras", "steps": 9, "denoise": 1, "model": ["4", 0]}}"#;
    let mut json = graph(&format!("{ELLA}, {applied}")).to_json();
    json["3"]["inputs"]["model"] = json!(["6", 0]);
    json["3"]["inputs"]["positive"] = json!(["6", 1]);
    let legacy = asks(&Graph::parse(&json.to_string()).unwrap()).unwrap();
    assert_eq!(legacy.spec.settings.text_encoder, Some(TextEncoderKind::EllaAndClip));
    assert_eq!(legacy.notes, [""; 0]);

    json["6"]["inputs"]["sigmas"] = json!(["20", 0]);
    let timed = asks(&Graph::parse(&json.to_string()).unwrap()).unwrap();
    assert_eq!(timed.spec.settings.text_encoder, Some(TextEncoderKind::Ella));
    assert!(timed.notes[0].contains("leaves out what CLIP reads"), "{:?}", timed.notes);
    assert!(timed.notes[1].contains("9 steps of `karras`"), "{:?}", timed.notes);

    // The same is true of `EllaEncode`, whose steps are always known.
    let encoded = r#""6": {"class_type": "EllaEncode", "inputs": {"ella": ["13", 0], "embeds": ["19", 0]}},
        "17": {"class_type": "CLIPTextEncode", "inputs": {"text": "a red car", "clip": ["4", 1]}},
        "19": {"class_type": "ConcatConditionEllaEmbeds", "inputs": {"cond": ["17", 0], "embeds": ["12", 0]}}"#;
    let encoded = asks(&graph(&format!("{ELLA}, {encoded}"))).unwrap();
    assert_eq!(encoded.spec.settings.text_encoder, Some(TextEncoderKind::Ella));
    assert_eq!(encoded.notes.len(), 1);
}

#[test]
fn ella_text_encode_reads_with_clip_if_it_has_one() {
    let node = |clip: &str| {
        format!(
            r#"{ELLA}, "6": {{"class_type": "EllaTextEncode", "inputs": {{"text": "A red car.", "text_clip": "(best quality:1.3)", {clip}
            "ella": ["13", 0], "text_encoder": ["11", 0]}}}}"#
        )
    };
    let alone = asks(&graph(&node(""))).unwrap();
    assert_eq!(alone.spec.settings.text_encoder, Some(TextEncoderKind::Ella));
    let both = asks(&graph(&node(r#""clip": ["4", 1],"#))).unwrap();
    assert_eq!(both.spec.settings.text_encoder, Some(TextEncoderKind::EllaAndClip));
    assert_eq!(both.spec.caption.as_deref(), Some("A red car."));
    assert_eq!(both.spec.settings.options["words"], "best quality");
    assert!(both.notes[0].contains("the weights in `text_clip` of node `6`"), "{:?}", both.notes);
}

#[test]
fn two_texts_of_one_encoder_are_not_joined_in_silence() {
    let two = r#""6": {"class_type": "ConditioningConcat", "inputs": {"conditioning_to": ["7", 0], "conditioning_from": ["7", 0]}}"#;
    let message = asks(&graph(two)).unwrap_err().to_string();
    assert!(message.contains("joins two texts that CLIP reads"), "{message}");
}

/// ComfyUI's file dialogs list the miniature as a file.
#[test]
fn the_miniatures_ella_is_the_miniatures() {
    let text = r#""6": {"class_type": "EllaEncode", "inputs": {"ella": ["13", 0], "embeds": ["12", 0]}}"#;
    let mut json = graph(&format!("{ELLA}, {text}")).to_json();
    json["10"]["inputs"]["name"] = "miniature.safetensors".into();
    json["11"]["inputs"]["name"] = "miniature".into();
    let wanted = asks(&Graph::parse(&json.to_string()).unwrap()).unwrap();
    assert_eq!(
        (wanted.spec.settings.t5.as_deref(), wanted.spec.settings.ella.as_deref()),
        (Some("miniature"), Some("miniature"))
    );
}

#[test]
fn boxes_that_cannot_be_painted_are_told() {
    let boxes = |list: &[(&str, [i32; 4])]| {
        let mut last = "14".to_owned();
        let mut nodes =
            r#""14": {"class_type": "CLIPTextEncode", "inputs": {"text": "a beach", "clip": ["4", 1]}}"#.to_owned();
        for (index, (text, [x, y, width, height])) in list.iter().enumerate() {
            let id = if index + 1 == list.len() { "6".to_owned() } else { format!("b{index}") };
            nodes += &format!(
                r#", "{id}": {{"class_type": "GLIGENTextBoxApply", "inputs": {{"conditioning_to": ["{last}", 0], "text": "{text}",
                    "width": {width}, "height": {height}, "x": {x}, "y": {y}}}}}"#
            );
            last = id;
        }
        asks(&graph(&nodes)).unwrap()
    };
    let some = boxes(&[
        ("a car", [8, 8, 40, 40]),
        ("", [0, 0, 16, 16]),
        ("a dog", [100, 90, -40, -32]),
        ("a cat", [300, 8, 16, 16]),
        ("a tree", [96, 96, 64, 16]),
    ]);
    let layout = some.spec.layout.unwrap();
    assert_eq!(layout.objects.iter().map(|object| object.phrase.as_str()).collect::<Vec<_>>(), ["a car", "a tree"]);
    assert_eq!(
        some.notes,
        [
            "dropped the box [0, 0, 16, 16]: it has no name",
            "dropped `a dog` [100, 90, -40, -32]: it has no area",
            "dropped `a cat` [300, 8, 16, 16]: it lies outside the canvas"
        ]
    );
    assert_eq!(some.changes.len(), 1, "{:?}", some.changes);

    let none = boxes(&[("a dog", [100, 90, -40, -32])]);
    assert_eq!((none.spec.settings.method.as_deref(), none.spec.layout.is_none()), (Some("sd"), true));
    assert_eq!((none.spec.caption.as_deref(), none.notes.len()), (Some("a beach"), 1));
}

#[test]
fn samplers_and_noise_levels_are_comfyuis() {
    for (sampler, levels, expected) in [
        ("dpmpp_2m", "karras", "dpm-solver++-karras"),
        ("euler", "simple", "euler-simple"),
        ("euler_ancestral", "sgm_uniform", "euler-ancestral-sgm-uniform"),
        ("ddim", "ddim_uniform", "ddim-ddim-uniform"),
        ("euler", "exponential", "euler-exponential"),
        ("euler", "kl_optimal", "euler-kl-optimal"),
    ] {
        let wanted = changed(&Painting::default(), |json| {
            json["3"]["inputs"]["sampler_name"] = sampler.into();
            json["3"]["inputs"]["scheduler"] = levels.into();
        });
        assert_eq!(wanted.unwrap().spec.settings.scheduler.as_deref(), Some(expected));
    }
}

#[test]
fn what_a_flag_says_cannot_be_wrong_in_the_graph() {
    let spoil = |json: &mut Value| {
        for (node, input, value) in [
            ("3", "seed", json!(-1)),
            ("3", "steps", json!(20_000)),
            ("3", "cfg", json!(0.5)),
            ("3", "sampler_name", json!("heun")),
            ("4", "ckpt_name", Value::Null),
            ("5", "width", json!(1)),
            ("5", "height", json!("large")),
            ("5", "batch_size", json!(0)),
        ] {
            json[node]["inputs"][input] = value;
        }
    };
    assert!(changed(&Painting::default(), spoil).is_err());
    let settings = PaintSettings {
        seed: Some(1),
        steps: Some(2),
        guidance_scale: Some(3.0),
        scheduler: Some("ddim".to_owned()),
        model: Some("miniature".to_owned()),
        width: Some(64),
        height: Some(64),
        ..PaintSettings::default()
    };
    let flags = Painting { settings, count: Some(1), ..Painting::default() };
    let wanted = changed(&flags, spoil).unwrap();
    assert_eq!(wanted.count, None);
    let settings = merged(wanted.spec.settings, flags.settings);
    assert_eq!((settings.seed, settings.steps, settings.scheduler.as_deref()), (Some(1), Some(2), Some("ddim")));
    assert_eq!((settings.width, settings.negative.as_deref()), (Some(64), Some("blurry")));
}

/// `--text-encoder clip` makes ELLA's files of the graph needless, and they must not be in the way.
#[test]
fn files_that_no_encoder_needs_are_left_out() {
    let text = r#""6": {"class_type": "EllaEncode", "inputs": {"ella": ["13", 0], "embeds": ["12", 0]}}"#;
    let wanted = asks(&graph(&format!("{ELLA}, {text}"))).unwrap();
    let flags = PaintSettings { text_encoder: Some(TextEncoderKind::Clip), ..PaintSettings::default() };
    let settings = merged(wanted.spec.settings, flags);
    assert_eq!((settings.t5, settings.ella, settings.negative_encoder), (None, None, None));
}

#[test]
fn values_may_be_texts_primitives_and_behind_reroutes() {
    let wanted = changed(&Painting::default(), |json| {
        json["5"]["inputs"]["width"] = json!("64");
        json["5"]["inputs"]["height"] = json!(["30", 0]);
        json["30"] = json!({"class_type": "PrimitiveInt", "inputs": {"value": 100}});
        json["6"]["inputs"]["text"] = json!(["31", 0]);
        json["31"] = json!({"class_type": "Reroute", "inputs": {"": ["32", 0]}});
        json["32"] = json!({"class_type": "PrimitiveStringMultiline", "inputs": {"value": "a (blue:1.2) car"}});
        json["3"]["inputs"]["seed"] = json!(7.0);
    })
    .unwrap();
    assert_eq!((wanted.spec.caption.as_deref(), wanted.spec.settings.seed), (Some("a blue car"), Some(7)));
    assert_eq!((wanted.spec.settings.width, wanted.spec.settings.height), (Some(64), Some(96)));
    assert!(wanted.notes.iter().any(|note| note.contains("96 pixels are painted")), "{:?}", wanted.notes);
}

#[test]
fn a_vae_of_its_own_and_a_batch_are_told() {
    let wanted = changed(&Painting::default(), |json| {
        json["40"] = json!({"class_type": "VAELoader", "inputs": {"vae_name": "vae-ft-mse.safetensors"}});
        json["8"]["inputs"]["vae"] = json!(["40", 0]);
        json["5"]["inputs"]["batch_size"] = json!(3);
    })
    .unwrap();
    assert_eq!(wanted.count, Some(3));
    assert!(
        wanted.notes.iter().any(|note| note.contains("the VAE `vae-ft-mse.safetensors` of node `40`")),
        "{:?}",
        wanted.notes
    );
    assert!(wanted.notes.iter().any(|note| note.contains("each has the next seed here")), "{:?}", wanted.notes);
}

#[test]
fn previews_of_the_saved_picture_are_no_others() {
    let add = |json: &mut Value, id: &str, class: &str, from: &str| {
        json[id] = json!({"class_type": class, "inputs": {"images": [from, 0]}});
    };
    let with = |change: &dyn Fn(&mut Value)| changed(&Painting::default(), |json| change(json));
    assert!(with(&|json| add(json, "50", "SaveImage", "8")).is_ok());
    let other = |json: &mut Value| json["51"] = json!({"class_type": "VAEDecode", "inputs": {"samples": ["3", 0]}});
    let preview = |json: &mut Value| {
        other(json);
        add(json, "50", "PreviewImage", "51");
    };
    assert!(with(&preview).is_ok(), "what is saved counts before what is shown");
    let two = with(&|json: &mut Value| {
        other(json);
        add(json, "50", "SaveImage", "51");
    });
    let message = two.unwrap_err().to_string();
    assert!(message.contains("makes 2 pictures, at the nodes `50` and `9`"), "{message}");
    let none = with(&|json: &mut Value| json["9"]["class_type"] = "VAEDecode".into()).unwrap_err().to_string();
    assert!(none.contains("saves no image"), "{none}");
}

#[test]
fn nodes_that_nothing_saved_comes_from_may_be_unknown() {
    let stray =
        |json: &mut Value| json["60"] = json!({"class_type": "FancyNode", "inputs": {}, "_meta": {"title": "Fancy"}});
    assert!(changed(&Painting::default(), stray).is_ok());
    let used = changed(&Painting::default(), |json| {
        stray(json);
        json["3"]["inputs"]["model"] = json!(["60", 0]);
    });
    let message = used.unwrap_err().to_string();
    assert!(message.starts_with("a node is not understood: FancyNode (node `60`, titled `Fancy`)"), "{message}");
    let lost = changed(&Painting::default(), |json| {
        stray(json);
        json["9"]["inputs"] = json!({});
    });
    let message = lost.unwrap_err().to_string();
    assert!(message.starts_with("a node is not understood: FancyNode"), "{message}");
}

#[test]
fn what_is_not_understood_is_named() {
    let refusal = |node: &str, input: &str, value: Value| {
        changed(&Painting::default(), |json| json[node]["inputs"][input] = value).unwrap_err().to_string()
    };
    for (node, input, value, part) in [
        (
            "3",
            "sampler_name",
            json!("heun"),
            "`sampler_name` of node `3` (KSampler) is `heun`; there is euler, euler_ancestral",
        ),
        (
            "3",
            "scheduler",
            json!("beta"),
            "`scheduler` of node `3` (KSampler) is `beta`; there is normal, simple, sgm_uniform",
        ),
        ("3", "denoise", json!(0.5), "`denoise` of node `3` (KSampler) is 0.5"),
        ("3", "cfg", json!(0.5), "`cfg` of node `3` (KSampler) is 0.5; a number from 1 to 100"),
        ("3", "positive", json!("x"), "`positive` of node `3` (KSampler) is linked to nothing"),
        ("3", "positive", json!(["99", 0]), "node `99`, which it does not have"),
        ("3", "latent_image", json!(["4", 0]), "comes from a `CheckpointLoaderSimple`"),
        ("3", "seed", json!(-1), "`seed` of node `3` (KSampler) is -1"),
        ("9", "images", json!(["3", 0]), "comes from a `KSampler`"),
        ("5", "width", json!(9000), "`width` of node `5` (EmptyLatentImage) is 9000"),
    ] {
        let message = refusal(node, input, value);
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn circles_and_webs_end() {
    let circle = r#""6": {"class_type": "GLIGENTextBoxApply", "inputs": {"conditioning_to": ["6", 0], "text": "a", "x": 0, "y": 0, "width": 8, "height": 8}}"#;
    assert!(asks(&graph(circle)).unwrap_err().to_string().contains("goes in circles"));
    let of_model = |json: &mut Value| {
        json["6"] = json!({"class_type": "EllaApply", "inputs": {"model": ["6", 0], "ella": ["10", 0]}});
        json["10"] = json!({"class_type": "ELLALoader", "inputs": {"name": "e"}});
        json["3"]["inputs"]["model"] = json!(["6", 0]);
    };
    assert!(changed(&Painting::default(), of_model).unwrap_err().to_string().contains("goes in circles"));
    let of_reroutes = |json: &mut Value| {
        json["6"] = json!({"class_type": "Reroute", "inputs": {"": ["7", 0]}});
        json["7"] = json!({"class_type": "Reroute", "inputs": {"": ["6", 0]}});
    };
    assert!(changed(&Painting::default(), of_reroutes).unwrap_err().to_string().contains("goes in circles"));
    let of_joins = r#""6": {"class_type": "ConditioningConcat", "inputs": {"conditioning_to": ["6", 0], "conditioning_from": ["7", 0]}}"#;
    assert!(asks(&graph(of_joins)).unwrap_err().to_string().contains("joins more than 64 times"));
    // Each node of a chain joins the one behind it with itself: 2⁵⁰ ways through.
    let web = |json: &mut Value| {
        for id in 100..150 {
            let next = (id + 1).to_string();
            json[id.to_string()] =
                json!({"class_type": "EllaCombineEmbeds", "inputs": {"embeds": [next, 0], "embeds_add": [next, 0]}});
        }
        json["150"] = json!({"class_type": "T5TextEncode #ELLA", "inputs": {"text": "a", "text_encoder": ["11", 0]}});
        json["11"] = json!({"class_type": "T5TextEncoderLoader #ELLA", "inputs": {"name": "t"}});
        json["6"] = json!({"class_type": "EllaEncode", "inputs": {"embeds": ["100", 0], "ella": ["10", 0]}});
    };
    assert!(changed(&Painting::default(), web).unwrap_err().to_string().contains("more than 10000"));
}
