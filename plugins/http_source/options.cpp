// SPDX-License-Identifier: Apache-2.0
#include "options.hpp"

namespace http {

pl::option_table<tls_options> tls_options::table() {
  using pl::option;
  using o = tls_options;
  return {
      option(&o::cert, "cert",
             "PEM file of the server's certificate, followed by those between it and its authority. Read again when "
             "it changes.")
          .required()
          .example("/etc/ssl/pipeline/fullchain.pem"),
      option(&o::key, "key", "PEM file of the key of `cert`, if it isn't in the same file.")
          .example("/etc/ssl/pipeline/key.pem"),
      option(&o::key_password, "key_password", "Password of `key`.").secret(),
      option(&o::ca, "ca",
             "PEM file of the authorities of clients' certificates: who shows none of theirs is refused. Default: no "
             "certificate is asked for.")
          .example("/etc/ssl/pipeline/devices-ca.pem")};
}

pl::option_table<source_options> source_options::table() {
  using pl::option;
  using o = source_options;
  return {
      option(&o::listen, "listen",
             "Where to listen: 127.0.0.1:8080, [::1]:8080, or :8080 for all addresses. Port 0: any free one, which the "
             "log names. Several lanes share the port.")
          .example("\":8080\""),
      option(
          &o::path, "path",
          "Path of the requests. {name} is one segment of it and becomes a column of that name, as text, without its "
          "%XX.")
          .example("\"/users/{user_id}/devices/{device_id}/telemetry\""),
      option(&o::format, "format",
             "What a body is. json: one document, or an array whose elements are a record each; ndjson: one document a "
             "line; raw: one record, whatever it is. auto: as its Content-Type says."),
      option(&o::invalid, "invalid",
             "What to do with a body that is no JSON. refuse: 400, with line and column, and nothing of it is taken; "
             "accept: take it as it is, for a transform to look at: all of it as one record, or line by line."),
      option(&o::token, "token",
             "What clients have to send as Authorization: Bearer <token>. Default: they needn't say who they are.")
          .secret()
          .example("\"${HTTP_TOKEN}\""),
      option(&o::tokens, "tokens", "Several tokens, each of which will do: to change one without a pause.").secret(),
      option(&o::user, "user", "Name that clients may use instead, by Basic authentication."),
      option(&o::password, "password", "Password of `user`.").secret(),
      option(&o::headers, "headers",
             "Columns from headers of the request, as text: column: Header-Name. Null where it wasn't sent.")
          .example("{tenant: X-Tenant}"),
      option(&o::id_header, "id_header",
             "Header with a key of the request, the same when it is sent again: the records' ids come from it. Without "
             "it they come from path and bytes."),
      option(&o::tls, "tls", "Certificates, for https.").example("{cert: server.pem, key: server.key}"),
      option(&o::max_body, "max_body", "Larger bodies are refused (413); as they come and decompressed.")
          .range(1, 1 << 30),
      option(&o::max_records, "max_records", "Records of one request; more are refused (413).").range(1, 1e6),
      option(&o::max_connections, "max_connections",
             "Connections at a time, each with a thread. At more than that the one that has been idle for longest is "
             "closed; where none is idle, new ones wait.")
          .range(1, 20'000),
      option(&o::timeout, "timeout", "How long a request may take to arrive, from its first byte to its last.")
          .range(0.1, 3600),
      option(&o::idle_timeout, "idle_timeout", "How long a connection may wait for its next request.")
          .range(0.1, 86'400),
      option(&o::retry_after, "retry_after",
             "What clients are told to wait (Retry-After) when the spool is full; whole seconds.")
          .range(1, 3600),
      option(&o::spool, "spool", "The log on the local disk in which records wait until the sinks have them.")};
}

}  // namespace http
