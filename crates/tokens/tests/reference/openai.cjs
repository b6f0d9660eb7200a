// Counts of OpenAI's own tokenizer (the Rust original as WASM): reads a JSON array of texts, writes [[cl100k, o200k], ..].
// Special tokens are text here, as in every other count of the fixture.
const { get_encoding } = require("tiktoken");
const encodings = ["cl100k_base", "o200k_base"].map((name) => get_encoding(name));
const texts = JSON.parse(require("fs").readFileSync(0, "utf8"));
console.log(JSON.stringify(texts.map((text) => encodings.map((encoding) => encoding.encode(text, [], []).length))));
