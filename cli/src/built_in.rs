//! The demonstration model, which is part of the program: a small Llama that tells children's stories (`models/README.md`).
//!
//! Not here: how it was made (`models/train/`). Without the feature `built-in-model` there is none.

use infer_loaders::Location;

/// Where the built-in model is, if this build has one.
pub fn built_in_model() -> Option<Location> {
    #[cfg(feature = "built-in-model")]
    return Some(Location::BuiltIn(&stories::STORIES));
    #[cfg(not(feature = "built-in-model"))]
    None
}

#[cfg(feature = "built-in-model")]
mod stories {
    use infer_loaders::BuiltIn;

    /// Bytes that begin at a multiple of what vectors like best.
    #[repr(C, align(64))]
    struct Aligned<B: ?Sized>(B);

    static WEIGHTS: &Aligned<[u8]> = &Aligned(*include_bytes!("../../models/stories/model.safetensors"));

    pub static STORIES: BuiltIn = BuiltIn {
        name: "built-in stories",
        files: &[
            ("config.json", include_bytes!("../../models/stories/config.json")),
            ("generation_config.json", include_bytes!("../../models/stories/generation_config.json")),
            ("model.safetensors", &WEIGHTS.0),
            ("tokenizer.json", include_bytes!("../../models/stories/tokenizer.json")),
            ("tokenizer_config.json", include_bytes!("../../models/stories/tokenizer_config.json")),
        ],
    };
}
