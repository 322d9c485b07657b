// SPDX-License-Identifier: Apache-2.0
#include "config/describe.hpp"

#include "config/test_support.hpp"

#include <doctest/doctest.h>

#include <string>

using namespace pl::config;
using namespace pl::config::test;

namespace {

constexpr auto options = table(option(PL_OPT_TEXT, "url", "Where to send it").flag(PL_REQUIRED).like("http://h"),
                               option(PL_OPT_TEXT, "token", "Who we are").flag(PL_SECRET).defaults("hunter2"),
                               option(PL_OPT_CHOICE, "mode", "How").choices("fast|safe").defaults("safe"),
                               option(PL_OPT_DURATION, "wait", "Between two attempts").defaults("1s").range(0, 60),
                               option(PL_OPT_LIST, "rules", "What to send").of(PL_OPT_OBJECT).with_fields(pool_fields),
                               option(PL_OPT_MAP, "headers", "Added to each request").of(PL_OPT_TEXT),
                               option(PL_OPT_INT, "old", "Use wait").flag(PL_DEPRECATED));

pl_component http_sink() {
  auto c = component("http_sink", PL_SINK, options);
  c.doc = str("Sends rows by HTTP.\nOne request for each batch.");
  c.caps = PL_IDEMPOTENT;
  c.example = str("plugin: http_sink\nfrom: parsed\nurl: http://h\n");
  return c;
}

}  // namespace

TEST_CASE("text for the terminal") {
  CHECK(describe_text(http_sink()) == R"(http_sink (sink)
Sends rows by HTTP.

One request for each batch.

Capabilities: idempotent

Options
  url        text                  required  Where to send it (for example http://h)
  token      text                  (secret)  Who we are (secret)
  mode       fast | safe           safe      How
  wait       duration              1s        Between two attempts (0 to 1m)
  rules      list of maps                    What to send
    size     whole number          2         Connections (1 to 64)
    timeout  duration              5s        To connect (0 to 1m)
  headers    map of names to text            Added to each request
  old        whole number                    Use wait (deprecated)

Example
  sinks:
    store:
      plugin: http_sink
      from: parsed
      url: http://h
)");
}

TEST_CASE("Markdown") {
  CHECK(describe_markdown(http_sink()) == R"(## http_sink

*sink* – Sends rows by HTTP.

One request for each batch.

Capabilities: idempotent

| Option | Type | Default | |
|---|---|---|---|
| `url` | text | **required** | Where to send it (for example http://h) |
| `token` | text | (secret) | Who we are (secret) |
| `mode` | fast \| safe | `safe` | How |
| `wait` | duration | `1s` | Between two attempts (0 to 1m) |
| `rules` | list of maps |  | What to send |
| `rules[].size` | whole number | `2` | Connections (1 to 64) |
| `rules[].timeout` | duration | `5s` | To connect (0 to 1m) |
| `headers` | map of names to text |  | Added to each request |
| `old` | whole number |  | Use wait (deprecated) |

```yaml
sinks:
  store:
    plugin: http_sink
    from: parsed
    url: http://h
```
)");
}

TEST_CASE("the description of a transform lists its outputs, and notes that it has no options") {
  const catalogue components;
  CHECK(describe_text(components.get("json_telemetry")) == R"(json_telemetry (transform)
Does what its name says.

In more words.

Outputs: out, invalid

No options.
)");
}

TEST_CASE("the host's own options") {
  const auto text = host_options_text(), page = host_options_markdown();
  for (const auto* section : {"Top level", "Every source", "Every transform", "Every sink", "Dead letters"}) {
    CHECK(text.find(section) != std::string::npos);
    CHECK(page.find("## " + std::string(section)) != std::string::npos);
  }
  CHECK(page.find("| `batch.rows` | whole number | `1000` |") != std::string::npos);
  CHECK(page.find("| `http.listen` | text | `127.0.0.1:9464` |") != std::string::npos);
}

TEST_CASE("JSON Schema") {
  const catalogue components;
  const auto sink = http_sink();
  std::vector<const pl_component*> all(components.all().begin(), components.all().end());
  all.push_back(&sink);
  const auto schema = json_schema(all);
  // JSON is a subset of YAML, so a schema that loads as YAML is well-formed YAML
  const auto loaded = load(std::vector<file_arg>{{"schema", schema}}, {}, world());
  CHECK(loaded.problems.render().find("YAML") == std::string::npos);
  CHECK(schema.find("hunter2") == std::string::npos);
  CHECK(schema.find(R"("$schema": "https://json-schema.org/draft/2020-12/schema")") != std::string::npos);
  for (const auto* definition :
       {"source.kafka_source", "transform.threshold_alert", "sink.http_sink", "dead_letters.file_sink"}) {
    CHECK(schema.find("\"" + std::string(definition) + "\": {") != std::string::npos);
  }
  CHECK(schema.find("\"deprecated\": true") != std::string::npos);
  CHECK(json_schema({}).find("\"enum\": []") != std::string::npos);
}
