//! Text in, text out: what an embedding program uses.
