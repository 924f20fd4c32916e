/* Texts in the blobs that are not what they must be, or that would like to reach a terminal. */
#include "cases.h"

#define MODEL                                                                                \
    "model:\n  num_layers: 1\n  hidden_size: 4\n  num_attention_heads: 2\n  qkv_tokens: 2\n" \
    "  proj_tokens: 2\n  ffn_tokens: 3\n  seq_length: 8\n"
#define DATA "data:\n  separator: none\n"
#define STATE(step, loss, recent)                                                              \
    "step: " step "\ntokens: 8\nupdates: 1\ndata_hash: 1\nbest_loss: " loss "\nbest_step: 0\n" \
    "recent: " recent "\n"
#define GROW(keys, rows)                                                                          \
    "- event: grow\n  from: \"\"\n  keys: " keys "\n  values: random\n  scale: keep\n  seed: 1\n" \
    "  rows: " rows "\n"
#define TRAIN "- event: train\n  from: \"\"\n  steps: 1\n  tokens: 8\n"

const struct text_case text_cases[] = {
    {"config-list", TF_BLOB_CONFIG, "- 1\n- 2\n"},
    {"config-scalar", TF_BLOB_CONFIG, "model\n"},
    {"config-syntax", TF_BLOB_CONFIG, "model: {num_layers: 1\n"},
    {"config-not-utf8", TF_BLOB_CONFIG, "model:\n  num_layers: \xff\n"},
    {"config-c1-byte", TF_BLOB_CONFIG,
     "model:\n  num_layers: \x9b"
     "2J\n"},
    {"config-c1-character", TF_BLOB_CONFIG,
     "model:\n  num_layers: \xc2\x9b"
     "2J\n"},
    {"config-utf16", TF_BLOB_CONFIG, "\xff\xfem\0o\0d\0e\0l\0:\0"},
    {"config-escape-byte", TF_BLOB_CONFIG, "model:\n  num_layers: \033[2J\n"},
    {"config-escape-key", TF_BLOB_CONFIG, "model:\n  \"\\e]0;owned\\a\": 1\n"},
    {"config-escape-section", TF_BLOB_CONFIG, "\"\\e[2J\\x9b\": 1\n"},
    {"config-escape-value", TF_BLOB_CONFIG, "model:\n  num_layers: \"\\e[2J\"\n"},
    {"config-section-type", TF_BLOB_CONFIG, "model: 4\n"},
    {"config-integer-type", TF_BLOB_CONFIG, "model:\n  num_layers: many\n"},
    {"config-integer-list", TF_BLOB_CONFIG, "model:\n  num_layers: [1]\n"},
    {"config-integer-range", TF_BLOB_CONFIG, "model:\n  num_layers: 1025\n"},
    {"config-integer-wraps", TF_BLOB_CONFIG, "model:\n  num_layers: 18446744073709551617\n"},
    {"config-real-nan", TF_BLOB_CONFIG, "model:\n  rotary_base: .nan\n"},
    {"config-real-infinite", TF_BLOB_CONFIG, "model:\n  rotary_base: 1e999\n"},
    {"config-unknown-key", TF_BLOB_CONFIG, "model:\n  num_layer: 1\n"},
    {"config-unknown-section", TF_BLOB_CONFIG, "modle:\n  num_layers: 1\n"},
    {"config-duplicate-key", TF_BLOB_CONFIG, "model:\n  num_layers: 1\n  num_layers: 2\n"},
    {"config-two-documents", TF_BLOB_CONFIG, MODEL DATA "---\n" MODEL},
    {"config-tag", TF_BLOB_CONFIG, "model: !!python/object {}\n"},
    {"config-anchor", TF_BLOB_CONFIG, "model: &a {}\n"},
    {"config-alias", TF_BLOB_CONFIG, "model: *a\n"},
    {"config-alias-bomb", TF_BLOB_CONFIG,
     "a: &a [x, x, x, x, x, x, x, x, x]\nb: &b [*a, *a, *a, *a, *a, *a, *a, *a, *a]\n"
     "c: &c [*b, *b, *b, *b, *b, *b, *b, *b, *b]\nd: &d [*c, *c, *c, *c, *c, *c, *c, *c, *c]\n"},
    {"config-heads", TF_BLOB_CONFIG, "model:\n  hidden_size: 4\n  num_attention_heads: 3\n"},
    {"config-heads-0", TF_BLOB_CONFIG, "model:\n  num_attention_heads: 0\n"},
    {"config-wider", TF_BLOB_CONFIG, "model:\n  num_layers: 1\n  hidden_size: 8\n" DATA},
    {"config-more-layers", TF_BLOB_CONFIG,
     "model:\n  num_layers: 2\n  hidden_size: 4\n  num_attention_heads: 2\n  qkv_tokens: 2\n"
     "  proj_tokens: 2\n  ffn_tokens: 3\n" DATA},
    {"config-untied", TF_BLOB_CONFIG, MODEL "  tie_embeddings: false\n" DATA},
    {"config-most-tokens", TF_BLOB_CONFIG,
     "model:\n  num_layers: 1024\n  hidden_size: 1048576\n  qkv_tokens: 2147483648\n"
     "  proj_tokens: 2147483648\n  ffn_tokens: 2147483648\n" DATA},
    {"config-kind", TF_BLOB_CONFIG, MODEL "  kind: \"\\e[2J\"\n" DATA},
    {"config-transformer", TF_BLOB_CONFIG, MODEL "  kind: transformer\n" DATA},
    {"config-counts", TF_BLOB_CONFIG, "model:\n  num_layers: 3\n  qkv_tokens: [2, 2]\n"},
    {"config-hidden", TF_BLOB_CONFIG, MODEL DATA "  train: [\"\\e]0;owned\\a\\x9b\\u202e.txt\"]\n"},
    {"config-comment", TF_BLOB_CONFIG, "# \xe2\x80\xae\xe2\x80\x8b\xef\xbf\xbd\r\n" MODEL DATA},

    {"tokenizer-kind", TF_BLOB_TOKENIZER, "kind: \"\\e[2J\"\nseparator: none\n"},
    {"tokenizer-keys", TF_BLOB_TOKENIZER, "kind: bytes\n"},
    {"tokenizer-more-keys", TF_BLOB_TOKENIZER, "kind: bytes\nseparator: none\nmore: 1\n"},
    {"tokenizer-list", TF_BLOB_TOKENIZER, "[bytes, none]\n"},
    {"tokenizer-syntax", TF_BLOB_TOKENIZER, "kind: [\033[2J"},
    {"tokenizer-long", TF_BLOB_TOKENIZER,
     "kind: bytes\nseparator: "
     "0123456789012345678901234567890123456789012345678901234567890123456789\n"},
    {"tokenizer-long-escape", TF_BLOB_TOKENIZER,
     "kind: bytes\nseparator: \"\\e[2J 0123456789"
     "0123456789012345678901234567890123456789012345678901234567890123456789\"\n"},
    {"tokenizer-larger", TF_BLOB_TOKENIZER, "kind: bytes\nseparator: \"\\e[2J\"\n"},

    {"state-list", TF_BLOB_STATE, "[1, 2]\n"},
    {"state-key-missing", TF_BLOB_STATE, "step: 1\n"},
    {"state-key-unknown", TF_BLOB_STATE, STATE("1", "none", "[]") "\"\\e[2J\": 1\n"},
    {"state-step-wraps", TF_BLOB_STATE, STATE("18446744073709551615", "none", "[]")},
    {"state-step-negative", TF_BLOB_STATE, STATE("-1", "none", "[]")},
    {"state-step-escape", TF_BLOB_STATE, STATE("\"\\e[2J\"", "none", "[]")},
    {"state-loss-nan", TF_BLOB_STATE, STATE("1", "nan", "[]")},
    {"state-recent-text", TF_BLOB_STATE, STATE("1", "none", "[x]")},
    {"state-recent-infinite", TF_BLOB_STATE, STATE("1", "none", "[1e39]")},
    {"state-recent-mapping", TF_BLOB_STATE, STATE("1", "none", "{a: 1}")},
    {"state-age-wraps", TF_BLOB_STATE, STATE("1", "none", "[]") "age: 18446744073709551615\n"},
    {"state-began-later", TF_BLOB_STATE, STATE("1", "none", "[]") "began: 2\n"},
    {"state-not-utf8", TF_BLOB_STATE, "step: \x9b\n"},

    {"lineage-mapping", TF_BLOB_LINEAGE, "event: train\n"},
    {"lineage-event-escape", TF_BLOB_LINEAGE, "- event: \"\\e[2J\"\n"},
    {"lineage-event-scalar", TF_BLOB_LINEAGE, "- train\n"},
    {"lineage-keys", TF_BLOB_LINEAGE, "- event: train\n  from: \"\"\n  steps: 1\n"},
    {"lineage-rows-list", TF_BLOB_LINEAGE, GROW("zero", "[1, 2]")},
    {"lineage-rows-pair", TF_BLOB_LINEAGE, GROW("zero", "{layers.0.ffn: [1]}")},
    {"lineage-rows-name", TF_BLOB_LINEAGE, GROW("zero", "{\"\\e[2J\": [1, 2]}")},
    {"lineage-rows-wrap", TF_BLOB_LINEAGE,
     GROW("zero", "{layers.0.ffn: [1, 18446744073709551616]}")},
    {"lineage-long-word", TF_BLOB_LINEAGE, GROW("a-word-of-many-letters", "{}")},
    {"lineage-flops-nan", TF_BLOB_LINEAGE, TRAIN "  flops: .nan\n"},
    {"lineage-flops-negative", TF_BLOB_LINEAGE, TRAIN "  flops: -1\n"},
    {"lineage-flops-huge", TF_BLOB_LINEAGE, TRAIN "  flops: 1e308\n" TRAIN "  flops: 1e308\n"},
    {"lineage-seconds-escape", TF_BLOB_LINEAGE, TRAIN "  seconds: \"\\e[2J\"\n"},
    {"lineage-layers-scalar", TF_BLOB_LINEAGE, GROW("zero", "{}") "  layers: 4\n"},
    {"lineage-width-pair", TF_BLOB_LINEAGE, GROW("zero", "{}") "  width: [4]\n"},
    {"lineage-method-long", TF_BLOB_LINEAGE,
     GROW("zero", "{}") "  method: a-word-of-many-letters\n"},
    {"lineage-growth-words", TF_BLOB_LINEAGE,
     GROW("zero", "{}") "  method: \"\\e[2J\"\n  layers: [1, 2]\n  place: \"\\x9b2J\"\n"},
    {"lineage-words", TF_BLOB_LINEAGE,
     "- event: train\n  from: \"\\e]0;owned\\a\\x9b\"\n  steps: 1\n  tokens: 8\n" GROW(
         "\"\\e[2J\"", "{layers.0.ffn: [1, 3]}") "- event: edit\n  from: \"\"\n  verb: "
                                                 "\"\\e[2J\"\n  effect: \"\\x9b2J\"\n  rows: {}\n"},
    {0},
};
