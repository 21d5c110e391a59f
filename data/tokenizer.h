/* Text to token ids and back: the BPE tokenizers of Hugging Face directories, read, written and trained.
 * Gives the ids that the `tokenizers` library gives. Knows no model, no files of text, no document separators.
 *
 * What is read. Two kinds of model: byte-level BPE (GPT-2, NeoX, Llama-3, Qwen) and BPE over characters with byte
 * fallback (Llama-2, Mistral).
 *   normalizers     Sequence Prepend Replace NFC NFD NFKC NFKD Strip Lowercase
 *   pre_tokenizers  Sequence ByteLevel Split Metaspace Digits Whitespace WhitespaceSplit Punctuation
 *   decoders        Sequence ByteLevel Replace ByteFallback Fuse Strip Metaspace
 *   post_processors Sequence ByteLevel TemplateProcessing (single sequence)
 * Anything else is refused by name. Truncation and padding are ignored. Regular expressions run in PCRE2 (data/pattern.h).
 * Tests: tests/test_tokenizer.c (ids against golden files), tests/test_tokenizer_train.c, tests/test_tokenizer_bad.c,
 * tests/test_tokenizer_unicode.c, tests/fuzz/fuzz_tokenizer.c. Speed: tests/bench/bench_tokenizer.c */
#ifndef DATA_TOKENIZER_H
#define DATA_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct tokenizer;

/* Growing arrays. Start from {0}; what appends to them grows them; the owner releases them. */
struct ids {
	int32_t *v; /* (n) */
	size_t n, capacity;
};
struct bytes {
	char *v; /* (n), not NUL-terminated */
	size_t n, capacity;
};
void ids_release(struct ids *ids);
void bytes_release(struct bytes *bytes);
int ids_append(struct ids *ids, const int32_t *v, size_t n, struct err *e);
int bytes_append(struct bytes *bytes, const char *v, size_t n, struct err *e);

/* Reads a tokenizer. path is one of
 *   - a Hugging Face directory: tokenizer.json, else vocab.json with merges.txt (GPT-2's pre-tokenizer is then assumed);
 *   - a file of tokenizer.json's format, whatever its name;
 *   - vocab.json or X.vocab.json, with merges.txt or X.merges.txt beside it.
 * tokenizer_config.json beside a tokenizer.json or vocab.json of exactly that name, if any, names bos_token and eos_token.
 * Its add_bos_token and add_eos_token count for vocab + merges only: in a tokenizer.json the post_processor decides, as in
 * transformers 5. The result is the caller's, to be freed by tokenizer_free.
 * Fails (ERR_USER) on a file that is malformed or asks for something that is not in the list above, and on sentencepiece and
 * WordPiece files with the conversion to do; a file that can't be read fails as in base/fsio.h. */
int tokenizer_open(struct tokenizer **out, const char *path, struct err *e);
/* The same from the text of a tokenizer.json, and of a tokenizer_config.json (config_json may be NULL). name stands in errors. */
int tokenizer_parse(struct tokenizer **out, const char *name, const char *json, size_t n_bytes, const char *config_json,
		    size_t n_config_bytes, struct err *e);
void tokenizer_free(struct tokenizer *t);

/* Largest id + 1, added tokens included: a model needs at least so many rows. */
int32_t tokenizer_vocab_size(const struct tokenizer *t);
/* The ids of bos_token and eos_token, -1 if there is none. Where tokenizer_config.json doesn't say: what the template puts in
 * front and behind, else the special tokens <s> and </s>, else <|endoftext|> for both. */
int32_t tokenizer_bos(const struct tokenizer *t);
int32_t tokenizer_eos(const struct tokenizer *t);
/* Does tokenizer_encode_document begin with bos, end with eos? */
bool tokenizer_adds_bos(const struct tokenizer *t);
bool tokenizer_adds_eos(const struct tokenizer *t);
/* The id of a whole token as it stands in the vocabulary ("Ġthe", "<s>"), -1 if there is none. */
int32_t tokenizer_id(const struct tokenizer *t, const char *token);
/* A hash of the tokenizer.json's bytes, bos and eos: equal hashes, equal ids. Stable across machines and across runs. */
uint64_t tokenizer_hash(const struct tokenizer *t);

/* Appends the ids of text[0..n_bytes) to out; nothing is added in front or behind (add_special_tokens=False), but added and
 * special tokens that stand in the text are recognised. Fails (ERR_USER) on invalid UTF-8, with the byte offset; out is
 * as before after any failure. t keeps a cache: use one tokenizer per thread. Deterministic. */
int tokenizer_encode(struct tokenizer *t, const char *text, size_t n_bytes, struct ids *out, struct err *e);
/* The same with what the tokenizer adds around a text (add_special_tokens=True). */
int tokenizer_encode_document(struct tokenizer *t, const char *text, size_t n_bytes, struct ids *out, struct err *e);
/* Appends the text of ids(n) to out, valid UTF-8; bytes that are none become U+FFFD as in `tokenizers`. skip_special leaves out
 * special tokens. Fails (ERR_USER) on an id outside [0, vocabulary size); an unused id inside gives nothing. */
int tokenizer_decode(const struct tokenizer *t, const int32_t *ids, size_t n, bool skip_special, struct bytes *out, struct err *e);

/* Training of a byte-level BPE with GPT-2's pre-tokenizer. Ids: special tokens, then the 256 bytes, then merges in the order
 * in which they were found. Each merge joins the most frequent pair; ties go to the pair of smallest ids. The same
 * documents in the same order give the same tokenizer, the one that `tokenizers` trains (its initial_alphabet full). */
struct tokenizer_train_options {
	int32_t vocab_size;     /* target, all counted; fewer if pairs run out. >= 256 + special tokens */
	int32_t min_frequency;  /* a pair seen less often is not merged; default 2 */
	const char *bos;        /* special tokens, default "<|endoftext|>" for both; NULL for none; may be equal */
	const char *eos;
	bool add_bos, add_eos;  /* does the tokenizer put them around a document? default true, false */
};
struct tokenizer_train_options tokenizer_train_default(void);
/* Gives the next document: returns 1 and sets *text, *n_bytes (valid until the next call), 0 at the end, -1 on error. */
typedef int tokenizer_next_document(void *context, const char **text, size_t *n_bytes, struct err *e);
int tokenizer_train(struct tokenizer **out, const struct tokenizer_train_options *options, tokenizer_next_document *next,
		    void *context, struct err *e);

/* Writes tokenizer.json and tokenizer_config.json into an existing directory, as transformers reads them. Each file is
 * written under a temporary name and renamed. A tokenizer that was read from files is written as it was read (a
 * vocab + merges pair as the tokenizer.json that says the same). */
int tokenizer_write(const struct tokenizer *t, const char *dir, struct err *e);

#endif
