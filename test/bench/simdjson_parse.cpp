// simdjson behind a C function: its DOM parser as a gateway would use it, one parser for all documents, on bytes that
// have its padding behind them.
#include <simdjson.h>

extern "C" size_t simdjson_padding(void);
extern "C" int simdjson_parse(const char *text, size_t len);
extern "C" const char *simdjson_kernel(void);

size_t simdjson_padding(void)
{
	return simdjson::SIMDJSON_PADDING;
}

// text: len bytes with simdjson_padding() readable bytes behind them. 1: valid.
int simdjson_parse(const char *text, size_t len)
{
	static simdjson::dom::parser parser;
	simdjson::dom::element root;
	return parser.parse(reinterpret_cast<const uint8_t *>(text), len, false).get(root) == simdjson::SUCCESS;
}

const char *simdjson_kernel(void)
{
	static const std::string name = simdjson::get_active_implementation()->name();
	return name.c_str();
}
