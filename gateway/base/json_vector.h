/* json_check at 64 bytes a step. Included by one file for each kind of vector instruction, which says how to load 64
 * bytes and how to ask which of them belong to a class; the answer is 64 bits, and all that follows is arithmetic on
 * such words: bit i stands for byte i of the block. There is no loop over characters and hardly a branch that depends
 * on them, which is what makes it fast: on documents that differ, a parser that walks spends most of its time on
 * branches that were guessed wrong.
 *
 * It says yes or "perhaps not". What it does not pass is given to json_check_scalar, which finds the place and the
 * reason, or that it is valid after all (a document that is no object or array; more than 60 levels). So all versions
 * give the same result as long as this one passes nothing that is wrong; test/fuzz/fuzz_json_versions.c looks for such.
 *
 * How a rule becomes arithmetic:
 *
 *	"after an X comes a Y"   next(X) lies within Y, where next moves each bit up by one and then over white space
 *	over a run               adding a run of ones to its lowest bit carries to the bit behind it: past()
 *	inside of strings        the exclusive or of all quotes at and below a bit
 *
 * What reaches beyond the block is carried over in struct json_walk, one bit for each relation. Which brackets are open
 * cannot be said so: they are visited one by one, and a telemetry document has four of them. */
#include <string.h>

#include "gateway/base/json_parts.h"

/* The file that includes this defines VECTOR_TARGET (the attribute that allows its instructions) and:
 *	struct json_block        64 bytes
 *	block_load(p)            reads 64 bytes
 *	block_load_part(p, n, before)  reads n < 64 bytes, before which there are `before` bytes of text; beyond them
 *	                         no byte belongs to any class, or they are spaces
 *	block_equal(b, c)        which bytes are c
 *	block_folded(b, c)       which are c when 0x20 is set in them
 *	block_range(b, lo, hi)   which are lo..hi, unsigned
 *	block_high(b)            which are not ASCII
 *	block_space(b)           which are white space
 *	block_curly(b)           which have 0x20 set
 *	prefix_xor(bits)         bit i: the exclusive or of bits 0..i */
#define VECTOR VECTOR_TARGET static inline __attribute__((always_inline))

#define DEPTH_MAX 60 /* levels for which there are bits in `stack` */

/* What is known of the text before the block. "carry" is always: bit 0 of the next block belongs to the relation. */
struct json_walk {
	const uint8_t *end;
	uint64_t inside;              /* all ones: the block begins inside of a string */
	const uint8_t *escape_end;    /* what lies before belongs to an escape */
	uint64_t stack, stack_limit;  /* open brackets, the innermost in bit 0, 1 for '{'; a 1 above them all */
	uint64_t done;                /* all ones: the document's last bracket has been met */
	const uint8_t *stop;          /* behind that bracket */
	uint64_t controls;            /* not 0: there were line breaks or tabs outside of strings */
	uint64_t key_due, key_closes; /* carries: next('{' or a comma between members); the inside of a key */
	uint64_t colon_due, end_due, value_due, element_due; /* carries: next of keys, values, comma or colon, '[' */
	uint64_t scalar, word, behind_word, digit, minus, dot, zero, fraction; /* carries, see numbers() */
	uint64_t exponent, exponent_sign, power;                               /* carries, see exponents() */
	uint64_t exponent_due;                                                 /* not 0: one of them is set */
	uint64_t sequence_due;        /* not 0: a UTF-8 sequence reaches over, or a carry of utf8() is set */
	uint64_t lead[3], limited[4]; /* leads of the last block; carries */
};

VECTOR uint64_t after(uint64_t bits, uint64_t *carry)
{
	uint64_t moved = bits * 2 + *carry; /* one instruction (lea) where a shift and an or are two */
	*carry = bits >> 63;
	return moved;
}

/* Moves bits that are at the beginning of a run to the place behind it, and leaves the others. *carry is added to
 * `from`, and set when a run reaches the block's end. */
VECTOR uint64_t past(uint64_t from, uint64_t run, uint64_t *carry)
{
	uint64_t sum;
	from |= *carry;
	*carry = __builtin_add_overflow(from & run, run, &sum);
	return (sum | from) & ~run;
}

/* Where the token behind each of these begins. (Of a token's last byte in bit 63, and of white space that reaches the
 * block's end, there can be only one: they share a carry.) */
VECTOR uint64_t next(uint64_t tokens, uint64_t space, uint64_t *carry)
{
	uint64_t behind = tokens >> 63, found = past(tokens << 1, space, carry);
	*carry |= behind;
	return found;
}

/* RFC 3629 section 4. Which bytes must continue a sequence follows from the leads before them, and they must be exactly
 * those that can. Returns what is wrong. */
VECTOR uint64_t utf8(struct json_walk *w, const struct json_block *b, uint64_t high)
{
	uint64_t continues = block_range(b, 0x80, 0xbf), three = block_range(b, 0xe0, 0xef),
	         four = block_range(b, 0xf0, 0xf4), all = block_range(b, 0xc2, 0xdf) | three | four;
	uint64_t due = all << 1 | w->lead[0] >> 63 | (three | four) << 2 | (w->lead[1] | w->lead[2]) >> 62 | four << 3 |
	               w->lead[2] >> 61;
	uint64_t wrong = (high & ~(all | continues)) | (due ^ continues);
	w->lead[0] = all;
	w->lead[1] = three;
	w->lead[2] = four;
	w->sequence_due = all >> 63 | (three | four) >> 62 | four >> 61;
	/* Overlong forms, surrogates, and what lies above U+10FFFF. */
	uint64_t to_9f = block_range(b, 0x80, 0x9f), to_8f = block_range(b, 0x80, 0x8f);
	wrong |= after(block_equal(b, 0xe0), &w->limited[0]) & to_9f;
	wrong |= after(block_equal(b, 0xed), &w->limited[1]) & ~to_9f;
	wrong |= after(block_equal(b, 0xf0), &w->limited[2]) & to_8f;
	wrong |= after(block_equal(b, 0xf4), &w->limited[3]) & ~to_8f;
	return wrong;
}

/* Whether this, behind a backslash, is all of an escape: one of "\/bfnrt. */
VECTOR bool escape_short(uint8_t c)
{
	const uint64_t low = UINT64_C(1) << '"' | UINT64_C(1) << '/';
	const uint64_t high = UINT64_C(1) << ('\\' - 64) | UINT64_C(1) << ('b' - 64) | UINT64_C(1) << ('f' - 64) |
	                      UINT64_C(1) << ('n' - 64) | UINT64_C(1) << ('r' - 64) | UINT64_C(1) << ('t' - 64);
	return c < 128 && ((c < 64 ? low : high) >> (c & 63) & 1);
}

/* Takes what belongs to escapes out of *quote. False: one is not valid. */
VECTOR bool escapes(struct json_walk *w, const uint8_t *at, uint64_t backslash, uint64_t *quote)
{
	uint64_t covered = 0;
	if (w->escape_end > at)
		covered = (UINT64_C(1) << (w->escape_end - at)) - 1; /* at most 11 bytes reach over */
	uint64_t left = backslash & ~covered;
	while (left) {
		unsigned bit = (unsigned)__builtin_ctzll(left);
		const uint8_t *p = at + bit,
		              *stop = w->end - p >= 2 && escape_short(p[1]) ? p + 2 : json_escape_end(p, w->end);
		if (!stop)
			return false;
		w->escape_end = stop;
		uint64_t through = stop - at < 64 ? (UINT64_C(1) << (stop - at)) - 1 : ~UINT64_C(0);
		covered |= through & ~UINT64_C(0) << bit;
		left &= ~through;
	}
	*quote &= ~covered;
	return true;
}

VECTOR uint32_t load32(const void *p)
{
	uint32_t word;
	memcpy(&word, p, 4);
	return word;
}

/* Marks true, false and null where they begin in the bits of `begin`. Which of them it is makes no branch: flags differ
 * from document to document. False: there is something else. */
VECTOR bool words(struct json_walk *w, const uint8_t *at, uint64_t begin, uint64_t *word)
{
	const uint32_t true4 = load32("true"), null4 = load32("null"), fals4 = load32("fals");
	unsigned good = 1;
	for (; begin; begin &= begin - 1) {
		unsigned bit = (unsigned)__builtin_ctzll(begin);
		const uint8_t *p = at + bit;
		if (w->end - p < 5) /* the shortest word, and the bracket that must follow */
			return false;
		uint32_t four = load32(p);
		unsigned is_false = (unsigned)(four == fals4) & (unsigned)(p[4] == 'e');
		good &= (unsigned)(four == true4) | (unsigned)(four == null4) | is_false;
		uint64_t bits = UINT64_C(15) | (uint64_t)is_false << 4;
		*word |= bits << bit;
		if (bit > 59)
			w->word = bits >> (64 - bit);
	}
	return good;
}

/* Exponents: rare enough to be worth a branch. The arguments are as in numbers(). Returns what is wrong; *signs: what
 * may stand after an 'e'. */
VECTOR uint64_t exponents(struct json_walk *w, const struct json_block *b, uint64_t number, uint64_t begin,
                          uint64_t digit, uint64_t dot, uint64_t *e, uint64_t *signs)
{
	uint64_t sign = (block_equal(b, '+') | block_equal(b, '-')) & number & ~begin;
	*e = block_folded(b, 'e') & number;
	uint64_t after_e = after(*e, &w->exponent);
	*signs = sign & after_e;
	uint64_t wrong = (after_e & ~(digit | *signs)) | (after(*signs, &w->exponent_sign) & ~digit);
	/* the digits of an exponent end the number */
	uint64_t power = past((after_e & digit) | (*signs << 1), digit, &w->power);
	w->power |= *signs >> 63;
	w->exponent_due = w->exponent | w->exponent_sign | w->power;
	return wrong | (power & (dot | *e));
}

/* RFC 8259 section 6. number: all bytes of numbers; begin: their first ones. Returns what is wrong. */
VECTOR uint64_t numbers(struct json_walk *w, const struct json_block *b, uint64_t number, uint64_t begin,
                        uint64_t digit, uint64_t minus)
{
	digit &= number;
	minus &= number;
	uint64_t dot = block_equal(b, '.') & number, zero = block_equal(b, '0') & number;
	uint64_t wrong = begin & ~(digit | minus), e = 0, signs = 0;
	uint64_t odd = number & ~(digit | (minus & begin) | dot);
	if (__builtin_expect((odd | w->exponent_due) != 0, 0))
		wrong |= exponents(w, b, number, begin, digit, dot, &e, &signs);
	wrong |= odd & ~(e | signs);
	uint64_t after_minus = after(minus & begin, &w->minus);
	uint64_t fraction = past(dot * 2, digit, &w->fraction); /* behind the digits of a fraction */
	w->fraction |= dot >> 63;
	wrong |= (after_minus | after(dot, &w->dot)) & ~digit;
	wrong |= (dot | e) & ~after(digit, &w->digit);
	wrong |= after((begin | after_minus) & zero, &w->zero) & digit; /* no leading zero */
	return wrong | (fraction & dot);
}

/* Visits the brackets. Returns what is wrong. *object: bytes whose innermost open bracket is '{'. Behind the last bracket
 * there must be nothing of `tokens`. */
VECTOR uint64_t brackets(struct json_walk *w, const uint8_t *at, const struct json_block *b, uint64_t open,
                         uint64_t close, uint64_t tokens, uint64_t *object)
{
	uint64_t left = open | close, wrong = 0, stack = w->stack, last = 0, change = 0;
	*object = -(stack & 1);
	if (left == 0)
		return 0;
	uint64_t curly = block_curly(b);
	do {
		unsigned bit = (unsigned)__builtin_ctzll(left);
		uint64_t kind = curly >> bit & 1, before = stack;
		bool opens = open >> bit & 1;
		wrong |= opens ? 0 : (stack ^ kind) & 1;
		stack = opens ? stack << 1 | kind : stack >> 1;
		wrong |= (stack > w->stack_limit) | (stack == 0);
		change |= ((stack ^ before) & 1) << bit;
		last |= (uint64_t)(stack == 1) << bit;
		left &= left - 1;
	} while (left);
	w->stack = stack;
	*object ^= prefix_xor(change);
	if (last) {
		unsigned bit = (unsigned)__builtin_ctzll(last);
		w->stop = at + bit + 1;
		w->done = ~UINT64_C(0);
		wrong |= bit < 63 ? tokens >> (bit + 1) : 0;
	}
	return wrong;
}

struct tokens {
	uint64_t opening, closing, inside;                                /* quotes, and what is between them */
	uint64_t curly, square, close, colon, comma, member_comma, value; /* value: where one begins, keys included */
	uint64_t behind_scalar;
};

/* What may follow what. Returns what is wrong. */
VECTOR uint64_t order(struct json_walk *w, const struct tokens *t, uint64_t space)
{
	uint64_t key = next(t->curly | t->member_comma, space, &w->key_due);
	uint64_t wrong = key & ~(t->opening | t->close);
	uint64_t key_end = past(key & t->opening, t->inside, &w->key_closes);
	wrong |= next(key_end, space, &w->colon_due) ^ t->colon;
	uint64_t ended = t->close | (t->closing & ~key_end);
	wrong |= past(ended * 2 | t->behind_scalar, space, &w->end_due) & ~(t->comma | t->close);
	w->end_due |= ended >> 63;
	wrong |= next(t->comma | t->colon, space, &w->value_due) & ~t->value;
	return wrong | (next(t->square, space, &w->element_due) & ~(t->value | t->close));
}

/* One block: at is where its first byte stands in the text; pad: bits that are no bytes of it. False: perhaps not valid. */
VECTOR bool step(struct json_walk *w, const uint8_t *at, const struct json_block *b, uint64_t pad)
{
	uint64_t quote = block_equal(b, '"'), backslash = block_equal(b, '\\');
	if (__builtin_expect(backslash != 0 || w->escape_end > at, 0) && !escapes(w, at, backslash, &quote))
		return false;
	uint64_t inside = prefix_xor(quote) ^ w->inside; /* from the opening quote to before the closing one */
	w->inside = -(inside >> 63);
	uint64_t control = block_range(b, 0, 0x1f), wrong = 0;
	uint64_t high = block_high(b);
	if (__builtin_expect((high | w->sequence_due) != 0, 0))
		wrong |= utf8(w, b, high) | (high & ~inside);

	uint64_t outside = ~(inside | quote);
	uint64_t space = (block_space(b) | pad) & outside, comma = block_equal(b, ',') & outside,
	         colon = block_equal(b, ':') & outside, open = block_folded(b, '{') & outside,
	         close = block_folded(b, '}') & outside;
	uint64_t scalar = outside & ~(space | comma | colon | open | close);
	if (control) {
		wrong |= control & inside;
		w->controls |= control & space;
	}

	/* scalars: words and numbers */
	uint64_t behind_scalar = after(scalar, &w->scalar), begins = scalar & ~behind_scalar, begin = begins;
	uint64_t digit = block_range(b, '0', '9'), minus = block_equal(b, '-'), letter = begin & ~(digit | minus);
	uint64_t number = scalar;
	if (letter | w->word | w->behind_word) {
		uint64_t word = w->word;
		w->word = 0;
		if (!words(w, at, letter, &word))
			return false;
		number &= ~word;
		begin &= ~word;
		wrong |= (word & ~scalar) | (after(word, &w->behind_word) & number);
	}
	wrong |= numbers(w, b, number, begin, digit, minus);

	/* brackets, and what stands in which */
	uint64_t object;
	if (__builtin_expect(w->done != 0, 0))
		wrong |= ~space;
	wrong |= brackets(w, at, b, open, close, ~space, &object);

	struct tokens t = {.opening = quote & inside,
	                   .closing = quote & ~inside,
	                   .inside = inside,
	                   .curly = open & object,
	                   .square = open & ~object,
	                   .close = close,
	                   .colon = colon,
	                   .comma = comma,
	                   .member_comma = comma & object,
	                   .value = (quote & inside) | open | begins,
	                   .behind_scalar = behind_scalar & ~scalar};
	/* Documents without white space are the rule: there, next() is a shift. */
	wrong |= space == 0 ? order(w, &t, 0) : order(w, &t, space);
	return wrong == 0;
}

VECTOR bool check_blocks(struct json_walk *w, const uint8_t *text, const uint8_t *p)
{
	for (; w->end - p >= 64; p += 64) {
		struct json_block b = block_load(p);
		if (!step(w, p, &b, 0))
			return false;
	}
	if (p < w->end) {
		size_t n = (size_t)(w->end - p);
		struct json_block b = block_load_part(p, n, (size_t)(p - text));
		if (!step(w, p, &b, ~UINT64_C(0) << n))
			return false;
	}
	return w->done != 0;
}

VECTOR struct json_result check_vector(const char *text, size_t len, unsigned max_depth)
{
	const uint8_t *bytes = (const uint8_t *)text, *end = bytes + len, *p = bytes;
	while (p < end && (*p == ' ' || *p == '\n' || *p == '\r' || *p == '\t'))
		p++;
	if (p == end || (*p != '{' && *p != '['))
		return json_check_scalar(text, len, max_depth);
	struct json_walk w = {.end = end, .escape_end = bytes, .stack = 1};
	w.stack_limit = (UINT64_C(2) << (max_depth < DEPTH_MAX ? max_depth : DEPTH_MAX)) - 1;
	if (!check_blocks(&w, bytes, p))
		return json_check_scalar(text, len, max_depth);
	return (struct json_result){.type = *p == '{' ? JSON_OBJECT : JSON_ARRAY,
	                            .start = (size_t)(p - bytes),
	                            .end = (size_t)(w.stop - bytes),
	                            .newline = w.controls && json_has_newline((const char *)p, (size_t)(w.stop - p))};
}
