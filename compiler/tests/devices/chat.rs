//! Conversations with the tiny model on both drivers: transformers' answers, token for token, with turns that compute only
//! what is new.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use crate::common::verify::{compiled_with, sessions};
use crate::common::{replace_file, root};
use qwenc::model::entries::DecoderSizes;
use qwenc::pipeline::CompileOptions;
use qwenc_runtime::bundle::{Bundle, Memory};
use qwenc_runtime::chat::{
    ChatError, ChatFiles, Event, FinishReason, GenerateOptions, Generation, Generator, Message, Prompt,
    PromptImage, RenderOptions, StopRules,
};
use qwenc_runtime::gpu::Gpu;
use qwenc_runtime::gpu::probe::test_gpus;
use qwenc_runtime::image::{Preprocessor, decode};
use qwenc_runtime::sampling::SamplingParams;
use qwenc_runtime::session::{Positions, Session};
use serde::Deserialize;

#[derive(Deserialize)]
struct Golden {
    max_new_tokens: usize,
    conversations: Vec<Conversation>,
}

#[derive(Deserialize)]
struct Conversation {
    template: String,
    system: Option<String>,
    thinking: bool,
    image: bool,
    turns: Vec<Turn>,
}

#[derive(Deserialize)]
struct Turn {
    user: String,
    prompt_ids: Vec<i32>,
    tokens: Vec<u32>,
    raw_text: String,
    finish_reason: String,
}

fn golden() -> Golden {
    serde_json::from_slice(&std::fs::read(root().join("golden/tiny/chat.json")).unwrap()).unwrap()
}

/// The tiny model's bundle, with Qwen3.5's own chat template when `given`.
fn bundle(given: bool, sizes: DecoderSizes, max_image_patches: u32) -> BTreeMap<String, Vec<u8>> {
    let options = CompileOptions { sizes, max_image_patches, ..CompileOptions::default() };
    let (_, mut files) = compiled_with("genai015", &options);
    if given {
        let template = std::fs::read(root().join("models/qwen3_5_chat_template.jinja")).unwrap();
        replace_file(&mut files, "model/chat_template.jinja", template);
    }
    files
}

const SIZES: DecoderSizes = DecoderSizes { max_context: 300, prefill_chunk: 40 };

fn chat_files(files: &BTreeMap<String, Vec<u8>>) -> ChatFiles {
    ChatFiles::load(&Bundle::open(Memory { files: files.clone() }).unwrap()).unwrap()
}

fn generators(files: &BTreeMap<String, Vec<u8>>, gpus: &[Gpu]) -> Vec<Generator<Gpu>> {
    sessions(files, gpus)
        .into_iter()
        .map(|session| Generator::new(session, chat_files(files)).unwrap())
        .collect()
}

fn options(generator: &Generator<Gpu>, tokens: usize, batch: usize) -> GenerateOptions {
    let stop = StopRules { tokens: generator.files().stop_tokens(), strings: Vec::new() };
    let (max_new_tokens, sampling) = (Some(tokens), SamplingParams::greedy());
    GenerateOptions { max_new_tokens, stop, sampling, min_batch: batch, max_batch: batch }
}

fn run(generator: &mut Generator<Gpu>, prompt: &Prompt, options: &GenerateOptions) -> Generation {
    let (mut streamed, mut tokens) = (String::new(), Vec::new());
    let generation = generator
        .generate(prompt, options, &mut |event| {
            match event {
                Event::Piece(piece) => streamed.push_str(&piece.text),
                Event::Token(id) => tokens.push(id),
                Event::Prompt { .. } => {}
            }
            ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(streamed, format!("{}{}", generation.reasoning, generation.text));
    assert_eq!(tokens, generation.tokens);
    generation
}

/// The image of the golden conversations, as this bundle's model takes it.
fn image(files: &BTreeMap<String, Vec<u8>>) -> PromptImage {
    let bundle = Bundle::open(Memory { files: files.clone() }).unwrap();
    let picture = decode(&std::fs::read(root().join("golden/tiny/chat.png")).unwrap()).unwrap();
    let patches = Preprocessor::of_bundle(&bundle).unwrap().prepare(&picture).unwrap();
    PromptImage::new(patches.grid, patches.values)
}

/// One conversation, on one generator that keeps what it was fed, with so many tokens at a time.
fn talk(
    generator: &mut Generator<Gpu>,
    conversation: &Conversation,
    files: &BTreeMap<String, Vec<u8>>,
    max_new_tokens: usize,
    batch: usize,
) {
    let adapter = generator.session().engine().backend().adapter().name.clone();
    let render = RenderOptions { enable_thinking: Some(conversation.thinking), ..RenderOptions::default() };
    let system = conversation.system.as_ref().map(|text| Message::text("system", text.as_str()));
    let mut messages: Vec<Message> = system.into_iter().collect();
    let vision = generator.session().vision().cloned();
    let images = if conversation.image { vec![image(files)] } else { Vec::new() };
    let mut stable = 0;
    for (at, turn) in conversation.turns.iter().enumerate() {
        let what = format!("{adapter}, template {}, turn {at}", conversation.template);
        messages.push(Message::user(turn.user.as_str(), if at == 0 { images.len() } else { 0 }));
        let prompt = generator.files().prompt(&messages, &images, &render, vision.as_ref()).unwrap();
        assert_eq!(prompt.ids(), turn.prompt_ids, "{what}");
        assert_eq!(prompt.thinking(), conversation.thinking, "{what}");
        assert!(stable < prompt.stable() && prompt.stable() <= prompt.len(), "{what}");

        let options = options(generator, max_new_tokens, batch);
        let generation = run(generator, &prompt, &options);
        assert_eq!(generation.tokens, turn.tokens, "{what}");
        assert_eq!(generation.finish_reason.name(), turn.finish_reason, "{what}");
        let said = if conversation.thinking { &generation.reasoning } else { &generation.text };
        assert_eq!(*said, turn.raw_text, "{what}");
        // All up to the end of the last question is known; the answer in between is written otherwise as history.
        assert_eq!(generation.usage.reused_tokens, stable, "{what}");
        assert_eq!(generation.usage.prompt_tokens, turn.prompt_ids.len(), "{what}");
        stable = prompt.stable();
        messages.push(generation.message());
    }
}

#[test]
fn answers_are_transformers_and_turns_compute_only_what_is_new() {
    let golden = golden();
    let (own, given) = (bundle(false, SIZES, 320), bundle(true, SIZES, 320));
    for mut session in sessions(&own, &test_gpus().unwrap()) {
        for (template, files) in [("own", &own), ("given", &given)] {
            let conversations: Vec<_> =
                golden.conversations.iter().filter(|c| c.template == template).collect();
            let mut generator = Generator::new(session, chat_files(files)).unwrap();
            for conversation in &conversations {
                talk(&mut generator, conversation, files, golden.max_new_tokens, 1);
            }
            // The conversations before left nothing that changes this one.
            talk(&mut generator, conversations[0], files, golden.max_new_tokens, 1);
            for batch in [3, 16] {
                generator.reset().unwrap();
                talk(&mut generator, conversations[0], files, golden.max_new_tokens, batch);
            }
            session = generator.into_session();
        }
        let conversation = golden.conversations.iter().find(|c| c.turns.len() == 3).unwrap();
        restored_is_as_good_as_fresh(&mut session, conversation);
    }
}

/// A second prompt that goes back to the snapshot gives the logits of one fed at once.
fn restored_is_as_good_as_fresh(session: &mut Session<Gpu>, conversation: &Conversation) {
    let [first, second] = [&conversation.turns[0].prompt_ids, &conversation.turns[1].prompt_ids];
    let stable = first.iter().zip(second).take_while(|(a, b)| a == b).count();
    assert!(stable > 10 && stable < first.len());
    let last = second.len() - 1;
    session.reset().unwrap();
    let fresh = session.feed(second, Positions::Text, &[last]).unwrap().remove(0);
    session.reset().unwrap();
    session.prefill(&first[..stable], Positions::Text).unwrap();
    session.snapshot().unwrap();
    session.prefill(&first[stable..], Positions::Text).unwrap();
    for token in &conversation.turns[0].tokens {
        session.decode(i32::try_from(*token).unwrap()).unwrap();
    }
    session.restore().unwrap();
    let restored = session.feed(&second[stable..], Positions::Text, &[last - stable]).unwrap().remove(0);
    let difference = fresh.iter().zip(&restored).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(difference < 2e-4, "{difference}");
    assert!(fresh.iter().any(|logit| logit.abs() > 0.1));
}

#[test]
fn answers_end_where_they_should() {
    let golden = golden();
    let turn = &golden.conversations[1].turns[0];
    let files = bundle(true, SIZES, 0);
    let gpus = test_gpus().unwrap();
    let generator = &mut generators(&files, &gpus[..1]).remove(0);
    let render = RenderOptions { enable_thinking: Some(false), ..RenderOptions::default() };
    let prompt = generator.files().prompt(&[Message::user("Hello", 0)], &[], &render, None).unwrap();

    // With several tokens at a time the session has been fed more than the answer has.
    for batch in [1, 2, 5] {
        let mut rules = options(generator, 12, batch);
        rules.stop.strings = vec!["nowhere".into(), " 01".into()];
        let stopped = run(generator, &prompt, &rules);
        assert_eq!(stopped.finish_reason, FinishReason::Stop);
        assert_eq!(stopped.text, turn.raw_text.split(" 01").next().unwrap());

        let mut rules = options(generator, 12, batch);
        rules.stop.tokens.push(turn.tokens[3]);
        let stopped = run(generator, &prompt, &rules);
        let first = turn.tokens.iter().position(|id| *id == turn.tokens[3]).unwrap();
        assert_eq!(
            (stopped.tokens.as_slice(), stopped.finish_reason),
            (&turn.tokens[..first], FinishReason::Stop)
        );

        // Whoever listens wants no more; the next answer is not the worse for it.
        let mut seen = 0;
        let options = options(generator, 12, batch);
        let cancelled = generator
            .generate(&prompt, &options, &mut |event| {
                seen += usize::from(matches!(event, Event::Token(_)));
                if seen == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            })
            .unwrap();
        assert_eq!(cancelled.finish_reason, FinishReason::Cancelled);
        assert_eq!(cancelled.tokens, turn.tokens[..3]);
        let again = run(generator, &prompt, &options);
        assert_eq!(again.tokens, turn.tokens);
        assert_eq!(again.usage.reused_tokens, prompt.stable());
    }
}

#[test]
fn a_full_context_ends_an_answer_and_a_longer_prompt_is_refused() {
    let files = bundle(false, DecoderSizes { max_context: 48, prefill_chunk: 20 }, 0);
    let gpus = test_gpus().unwrap();
    let generator = &mut generators(&files, &gpus[..1]).remove(0);
    // Stop rules of nothing: the context alone ends it.
    let prompt = generator.files().raw_prompt("<|im_start|>user", &[], None).unwrap();
    let one = run(generator, &prompt, &GenerateOptions::default());
    assert_eq!(one.finish_reason, FinishReason::Length);
    // The last token is chosen, and has no place any more.
    assert_eq!(one.tokens.len(), 48 - prompt.len() + 1);
    let several = GenerateOptions { min_batch: 7, max_batch: 7, ..GenerateOptions::default() };
    let several = run(generator, &prompt, &several);
    assert_eq!((several.tokens, several.finish_reason), (one.tokens, FinishReason::Length));
    assert_eq!(several.usage.batches, one.usage.batches.div_ceil(7));

    // A prompt that goes on where the last one ended.
    let none = GenerateOptions { max_new_tokens: Some(0), ..GenerateOptions::default() };
    generator.reset().unwrap();
    let fed = run(generator, &prompt, &none);
    assert_eq!((fed.tokens.len(), fed.finish_reason), (0, FinishReason::Length));
    let longer = generator.files().raw_prompt("<|im_start|>user<|im_end|>\n", &[], None).unwrap();
    assert_eq!(longer.ids()[..prompt.len()], *prompt.ids());
    assert_eq!(run(generator, &longer, &none).usage.reused_tokens, prompt.len());

    let long = generator.files().raw_prompt(&"<|im_end|>".repeat(49), &[], None).unwrap();
    let error = generator.generate(&long, &none, &mut |_| ControlFlow::Continue(())).unwrap_err();
    assert!(matches!(error, ChatError::PromptTooLong { tokens: 49, max_context: 48 }), "{error}");
    // The refusal cost nothing.
    let more = generator.files().raw_prompt("<|im_start|>user<|im_end|>\n<|im_end|>", &[], None).unwrap();
    assert_eq!(run(generator, &more, &none).usage.reused_tokens, longer.len());
    assert!(matches!(generator.files().raw_prompt("", &[], None), Err(ChatError::EmptyPrompt)));
}
