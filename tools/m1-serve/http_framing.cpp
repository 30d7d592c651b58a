#include "http_framing.h"
#include "base/shortened.h"
#include <algorithm>
#include <cstdio>
#include <cstring>
#include <set>

namespace m1serve {

namespace {

constexpr size_t maxLine = 8190; // the library's own bound, without the line's end

std::string lower(std::string_view text) {
  std::string out(text);
  for (char &c : out)
    c = c >= 'A' && c <= 'Z' ? char(c + 32) : c;
  return out;
}

bool isBlank(char c) { return c == ' ' || c == '\t'; }

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && isBlank(text.front()))
    text.remove_prefix(1);
  while (!text.empty() && isBlank(text.back()))
    text.remove_suffix(1);
  return text;
}

bool isAlphanumeric(char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/// RFC 9110, 5.6.2.
bool isToken(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return isAlphanumeric(c) || (c != 0 && std::strchr("!#$%&'*+-.^_`|~", c));
  });
}

/// A host and a port as a URI writes them, without a user (RFC 3986, 3.2); may be empty.
bool isAuthority(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) {
    return isAlphanumeric(c) || (c != 0 && std::strchr("-._~%!$&'()*+;=:[]", c));
  });
}

bool isControl(char c) { return (uint8_t(c) < 0x20 && c != '\t') || c == 0x7f; }

/// Whether a list of words, as in Connection, holds this one.
bool lists(std::string_view list, std::string_view word) {
  while (!list.empty()) {
    const size_t end = std::min(list.find(','), list.size());
    if (lower(trimmed(list.substr(0, end))) == word)
      return true;
    list.remove_prefix(std::min(end + 1, list.size()));
  }
  return false;
}

/// A piece of a request, for messages.
std::string cited(std::string_view text) { return "'" + m1rt::shortened(text) + "'"; }

} // namespace

const char *reasonOf(int status) {
  switch (status) {
  case 408:
    return "Request Timeout";
  case 413:
    return "Payload Too Large";
  case 414:
    return "URI Too Long";
  case 417:
    return "Expectation Failed";
  case 431:
    return "Request Header Fields Too Large";
  case 501:
    return "Not Implemented";
  case 505:
    return "HTTP Version Not Supported";
  default:
    return "Bad Request";
  }
}

bool HeadReader::refuse(int status, std::string message) {
  refusal = ApiError{status, std::move(message), {}, {}, 0};
  return false;
}

HeadReader::State HeadReader::read(std::string_view received) {
  const auto where = [&] { return " in line " + std::to_string(lines + 1) + " of the request"; };
  for (; at < received.size() && !refusal; ++at) {
    const char c = received[at];
    const bool afterReturn = at > lineBegin && received[at - 1] == '\r';
    if (at >= maxBytes)
      refuse(431, "the headers are too large: at most " + std::to_string(maxBytes) +
                      " bytes are expected");
    else if (c == '\n' && !afterReturn)
      refuse(400, "expected CR LF, got LF alone" + where());
    else if (c != '\n' && afterReturn)
      refuse(400, "expected CR LF, got CR alone" + where());
    else if (at == 0 && c == 0x16)
      refuse(400, "this is the beginning of TLS; the server speaks plain HTTP");
    else if (c != '\r' && c != '\n' && isControl(c))
      refuse(400, "a control character" + where());
    else if (at - lineBegin > maxLine + 1) // with its CR
      refuse(lines ? 431 : 414, lines ? "a header is too long: at most " + std::to_string(maxLine) +
                                            " bytes are expected"
                                      : "the address is too long");
    if (refusal || c != '\n')
      continue;
    const std::string_view line = received.substr(lineBegin, at - 1 - lineBegin);
    lineBegin = at + 1;
    if (lines++ == 0) {
      takeRequestLine(line);
    } else if (!line.empty()) {
      takeHeader(line);
    } else if (finish()) {
      ++at;
      return State::complete;
    }
  }
  return refusal ? State::refused : State::open;
}

bool HeadReader::takeRequestLine(std::string_view line) {
  const size_t first = line.find(' '), last = line.rfind(' ');
  if (first == std::string_view::npos || first == last || !isToken(line.substr(0, first)))
    return refuse(400, "expected METHOD ADDRESS HTTP/1.1, got " + cited(line));
  method = line.substr(0, first);
  path = line.substr(first + 1, last - first - 1);
  const std::string_view version = line.substr(last + 1);
  const auto isDigit = [](char c) { return c >= '0' && c <= '9'; };
  if (version.size() != 8 || version.substr(0, 5) != "HTTP/" || !isDigit(version[5]) ||
      version[6] != '.' || !isDigit(version[7]) || path.empty() ||
      path.find_first_of(" \t") != std::string::npos)
    return refuse(400, "expected METHOD ADDRESS HTTP/1.1, got " + cited(line));
  if (version[5] != '1')
    return refuse(505, "expected HTTP/1.1 or HTTP/1.0, got " + std::string(version));
  minor = unsigned(version[7] - '0');
  static const std::set<std::string> methods = {"GET",    "HEAD",    "POST",  "PUT",
                                                "DELETE", "OPTIONS", "TRACE", "PATCH"};
  if (!methods.count(method))
    return refuse(501, "the method " + cited(method) + " is not supported");
  return true;
}

bool HeadReader::takeHeader(std::string_view line) {
  const std::string number = "line " + std::to_string(lines) + " of the request: ";
  if (isBlank(line[0]))
    return refuse(400, number + "a header over several lines is not accepted (RFC 9112, 5.2)");
  const size_t colon = line.find(':');
  if (colon == std::string_view::npos)
    return refuse(400, number + "expected 'Name: value', got " + cited(line));
  const std::string_view name = line.substr(0, colon);
  if (!name.empty() && isBlank(name.back()))
    return refuse(400, number + "a blank before the colon of a header (RFC 9112, 5.1)");
  if (!isToken(name))
    return refuse(400, number + "expected the name of a header, got " + cited(name));
  headers.emplace_back(lower(name), trimmed(line.substr(colon + 1)));
  return true;
}

const std::string *HeadReader::find(const std::string &name) const {
  for (const auto &[known, value] : headers)
    if (known == name)
      return &value;
  return nullptr;
}

/// The path of an absolute address, and its host.
bool HeadReader::takeTarget(const std::string &target, std::optional<std::string> *authority) {
  if (target[0] == '/' || (target == "*" && method == "OPTIONS"))
    return true;
  for (const std::string scheme : {"http://", "https://"}) {
    if (lower(std::string_view(target).substr(0, scheme.size())) != scheme)
      continue;
    const size_t end = std::min(target.find_first_of("/?#", scheme.size()), target.size());
    *authority = target.substr(scheme.size(), end - scheme.size());
    if ((*authority)->empty())
      break;
    path =
        end < target.size() && target[end] == '/' ? target.substr(end) : "/" + target.substr(end);
    return true;
  }
  return refuse(400, "expected a path, or an address of http, got " + cited(target));
}

bool HeadReader::checkFraming() {
  const std::string *coding = find("transfer-encoding"), *bytes = find("content-length");
  if (coding && bytes)
    return refuse(400, "Transfer-Encoding and Content-Length exclude each other");
  if (coding && minor == 0)
    return refuse(400, "Transfer-Encoding: HTTP/1.0 has none");
  if (coding && lower(*coding) != "chunked")
    return refuse(501, "Transfer-Encoding: only chunked is supported");
  if (bytes && (bytes->empty() || bytes->size() > 18 ||
                bytes->find_first_not_of("0123456789") != std::string::npos))
    return refuse(400, "Content-Length: expected one number, got " + cited(*bytes));
  length = bytes ? std::stoull(*bytes) : 0;
  inChunks = coding != nullptr;
  return true;
}

bool HeadReader::finish() {
  for (const char *single :
       {"host", "content-length", "transfer-encoding", "content-type", "content-encoding",
        "authorization", "origin", "expect", "access-control-request-headers"})
    if (std::count_if(headers.begin(), headers.end(),
                      [&](const auto &header) { return header.first == single; }) > 1)
      return refuse(400, std::string(single) + ": given more than once");
  const std::string *host = find("host");
  if (!host && minor > 0)
    return refuse(400, "Host is missing, which HTTP/1.1 asks for");
  if (host && !isAuthority(*host))
    return refuse(400, "Host: expected a name or an address, got " + cited(*host));
  std::optional<std::string> authority;
  if (!takeTarget(std::string(path), &authority) || !checkFraming())
    return false;
  if (authority && !isAuthority(*authority))
    return refuse(400, "the address: expected a host, got " + cited(*authority));
  kept = minor > 0;
  for (const auto &[name, value] : headers)
    if (name == "connection")
      kept = minor > 0 ? kept && !lists(value, "close") : kept || lists(value, "keep-alive");
  if (const std::string *expected = find("expect"); expected && minor > 0) {
    expects = lower(*expected) == "100-continue";
    if (!expects)
      return refuse(417, "Expect: only 100-continue is known, got " + cited(*expected));
  }
  static const std::set<std::string> dropped = {"connection", "expect",     "range",
                                                "if-range",   "keep-alive", "accept-encoding"};
  headers.erase(std::remove_if(headers.begin(), headers.end(),
                               [&](const auto &header) {
                                 return dropped.count(header.first) ||
                                        (authority && header.first == "host");
                               }),
                headers.end());
  if (authority)
    headers.emplace_back("host", *authority);
  for (auto &[name, value] : headers) {
    // The library takes %41 in a value for an A.
    for (size_t at = 0; (at = value.find('%', at)) != std::string::npos; at += 3)
      value.replace(at, 1, "%25");
    if (name.size() + value.size() + 2 > maxLine)
      return refuse(431, "a header is too long: at most " + std::to_string(maxLine) +
                             " bytes are expected, and % counts as three");
  }
  return true;
}

std::string HeadReader::canonical() const {
  std::string out = method + " " + path + (minor > 0 ? " HTTP/1.1\r\n" : " HTTP/1.0\r\n");
  for (const auto &[name, value] : headers)
    out += name + ": " + value + "\r\n";
  if (expects)
    out += "expect: 100-continue\r\n";
  out += kept ? "connection: Keep-Alive\r\n\r\n" : "connection: close\r\n\r\n";
  return out;
}

void ChunkReader::refuse(int status, std::string message) {
  refusal = ApiError{status, std::move(message), {}, {}, 0};
}

void ChunkReader::takeSize(std::string *out) {
  const size_t digits = std::min(line.find_first_not_of("0123456789abcdefABCDEF"), line.size());
  const std::string_view rest = trimmed(std::string_view(line).substr(digits));
  if (digits == 0 || digits > 15 || (!rest.empty() && rest[0] != ';'))
    return refuse(400, "the size of a chunk: expected hexadecimal digits, got " + cited(line));
  left = std::stoull(line.substr(0, digits), nullptr, 16);
  if (left > maxBody - body)
    return refuse(413, "the body is too large");
  body += left;
  state = left ? State::data : State::trailer;
  if (left) {
    char text[20];
    std::snprintf(text, sizeof text, "%zx\r\n", left);
    *out += text;
  }
}

void ChunkReader::takeLine(std::string *out) {
  if (state == State::size) {
    takeSize(out);
  } else if (state == State::dataEnd) {
    *out += "\r\n";
    state = State::size;
  } else if (line.empty()) {
    *out += "0\r\n\r\n";
    state = State::ended;
  }
  line.clear();
}

size_t ChunkReader::take(std::string_view received, std::string *out) {
  size_t at = 0;
  while (at < received.size() && state != State::ended && !refusal) {
    if (state == State::data) {
      const size_t count = std::min(left, received.size() - at);
      out->append(received, at, count);
      at += count;
      left -= count;
      if (left == 0)
        state = State::dataEnd;
      continue;
    }
    const char c = received[at++];
    const bool afterReturn = !line.empty() && line.back() == '\r';
    ++framing;
    if (c == '\n' && afterReturn) {
      line.pop_back();
      takeLine(out);
    } else if (c == '\n' || afterReturn || (c != '\r' && isControl(c))) {
      refuse(400, "a chunk's line: expected CR LF at its end, and no control characters");
    } else if (state == State::dataEnd && c != '\r') {
      refuse(400, "a chunk is longer than its size");
    } else if (line.size() > maxLine || framing > maxFraming) {
      refuse(413, "the chunks' sizes, extensions and trailers are too large");
    } else {
      line += c;
    }
  }
  return at;
}

} // namespace m1serve
