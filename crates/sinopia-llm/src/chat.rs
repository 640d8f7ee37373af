//! A conversation as the model was taught to read it: the file's own chat template.

use minijinja::{Environment, ErrorKind, UndefinedBehavior, context};

use sinopia_layout::limits::TEMPLATE_STEPS;

use crate::error::{Error, Result};
use crate::file::Head;
use crate::vocabulary::Vocabulary;

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Whoever asks.
    User,
    /// The model.
    Assistant,
}

impl Role {
    fn name(self) -> &'static str {
        match self {
            Role::User => "user",
            Role::Assistant => "assistant",
        }
    }
}

/// The template, or none for models that only continue texts.
pub(crate) struct Chat {
    origin: String,
    environment: Option<Environment<'static>>,
}

const NAME: &str = "chat_template";
const KEY: &str = "tokenizer.chat_template";

impl Chat {
    pub(crate) fn read(head: &Head) -> Result<Self> {
        let origin = head.origin.clone();
        if !head.has(KEY) {
            return Ok(Self { origin, environment: None });
        }
        let mut environment = Environment::new();
        environment.set_trim_blocks(true);
        environment.set_lstrip_blocks(true);
        environment.set_undefined_behavior(UndefinedBehavior::Lenient);
        environment.set_fuel(Some(TEMPLATE_STEPS));
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function(
            "raise_exception",
            |message: String| -> std::result::Result<String, minijinja::Error> {
                Err(minijinja::Error::new(ErrorKind::InvalidOperation, message))
            },
        );
        // Templates that write today's date get one that never changes, so that answers do not either.
        environment.add_function("strftime_now", |_format: String| "1 January 2025".to_owned());
        let source = head.text(KEY)?.to_owned();
        match environment.add_template_owned(NAME, source) {
            Ok(()) => Ok(Self { origin, environment: Some(environment) }),
            Err(error) => Err(Error::ChatTemplate { origin, source: Box::new(error) }),
        }
    }

    /// The prompt whose continuation is the model's next turn. What people say cannot contain control tokens.
    pub(crate) fn prompt(&self, conversation: &[(Role, &str)], vocabulary: &Vocabulary) -> Result<String> {
        let said: Vec<(Role, String)> =
            conversation.iter().map(|(role, text)| (*role, vocabulary.without_control(text))).collect();
        let Some(environment) = &self.environment else {
            return Ok(said.into_iter().map(|(_, text)| text).collect::<Vec<_>>().join("\n\n"));
        };
        let messages: Vec<_> =
            said.iter().map(|(role, text)| context! { role => role.name(), content => text }).collect();
        let token = |id: Option<u32>| id.map(|id| vocabulary.name(id)).unwrap_or_default();
        let filling = context! {
            messages => messages,
            add_generation_prompt => true,
            enable_thinking => false,
            bos_token => token(vocabulary.start),
            eos_token => token(vocabulary.ends.first().copied()),
        };
        let failed = |source| Error::ChatTemplate { origin: self.origin.clone(), source: Box::new(source) };
        environment.get_template(NAME).and_then(|template| template.render(filling)).map_err(failed)
    }
}
