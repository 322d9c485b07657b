// SPDX-License-Identifier: Apache-2.0
#include "options.hpp"

namespace http {

pl::option_table<tls_options> tls_options::table() {
  using pl::option;
  using o = tls_options;
  return {
      option(&o::cert, "cert",
             "PEM file with the server's certificate, followed by the intermediate certificates. Reloaded when it "
             "changes.")
          .required()
          .example("/etc/ssl/pipeline/fullchain.pem"),
      option(&o::key, "key", "PEM file with the private key of `cert`, if it is not in the same file.")
          .example("/etc/ssl/pipeline/key.pem"),
      option(&o::key_password, "key_password", "Password of `key`.").secret(),
      option(&o::ca, "ca",
             "PEM file with the authorities of client certificates. Clients without a certificate of one of them are "
             "rejected. Default: no client certificate is requested.")
          .example("/etc/ssl/pipeline/devices-ca.pem")};
}

pl::option_table<source_options> source_options::table() {
  using pl::option;
  using o = source_options;
  return {
      option(&o::listen, "listen",
             "Address to listen on: 127.0.0.1:8080, [::1]:8080, or :8080 for all addresses. With port 0 the source "
             "uses any free port and logs it. Several lanes share the port.")
          .example("\":8080\""),
      option(&o::path, "path",
             "Path of the requests. {name} matches one segment and becomes a text column of that name, "
             "percent-decoded.")
          .example("\"/users/{user_id}/devices/{device_id}/telemetry\""),
      option(&o::format, "format",
             "Format of request bodies. json: one document, or an array whose elements are the records; ndjson: one "
             "document per line; raw: one record with any content; auto: according to the Content-Type."),
      option(&o::invalid, "invalid",
             "What to do with a body that is not valid JSON. refuse: respond with 400, line and column, and store no "
             "record of the request; accept: store the body unchanged, as one record or line by line, for a transform "
             "to check."),
      option(&o::token, "token",
             "Token that clients must send as Authorization: Bearer <token>. Default: no authentication.")
          .secret()
          .example("\"${HTTP_TOKEN}\""),
      option(&o::tokens, "tokens", "Further accepted tokens, for changing a token without an interruption.").secret(),
      option(&o::user, "user", "User name for Basic authentication, which clients may use instead of a token."),
      option(&o::password, "password", "Password of `user`.").secret(),
      option(&o::headers, "headers",
             "Text columns from headers of the request, as column: Header-Name. Null if the header was not sent.")
          .example("{tenant: X-Tenant}"),
      option(&o::id_header, "id_header",
             "Header with a key that is the same when the request is repeated. The ids of the records are derived from "
             "it; without the header, from the path and the bytes."),
      option(&o::tls, "tls", "Certificates for HTTPS.").example("{cert: server.pem, key: server.key}"),
      option(&o::max_body, "max_body",
             "Maximum size of a body, compressed and decompressed. Larger ones are rejected (413), also if "
             "the path and the columns of `headers`, which each record gets, have more than this in total.")
          .range(1, 1 << 30),
      option(&o::max_records, "max_records", "Maximum number of records in a request. More are rejected (413).")
          .range(1, 1e6),
      option(
          &o::max_connections, "max_connections",
          "Maximum number of connections; each has a thread. When it is reached, a connection that has not completed "
          "its TLS handshake or the head of a request within a second is closed, otherwise the one that has been "
          "idle for longest; if all are busy, new ones wait.")
          .range(1, 20'000),
      option(&o::max_connections_per_address, "max_connections_per_address",
             "Maximum number of connections from one client address. Set it if devices connect directly, not through a "
             "proxy. When it is reached, an incomplete or idle connection of that address is closed; if all are busy, "
             "the new one is closed. 0: no limit.")
          .range(0, 20'000),
      option(&o::timeout, "timeout", "How long a request may take to arrive, from its first byte to its last.")
          .range(0.1, 3600),
      option(&o::idle_timeout, "idle_timeout", "How long a connection may wait for its next request.")
          .range(0.1, 86'400),
      option(&o::retry_after, "retry_after",
             "Time in the Retry-After header of responses when the spool is full, in whole seconds.")
          .range(1, 3600),
      option(&o::spool, "spool", "The log on the local disk in which records wait until they are settled.")};
}

}  // namespace http
