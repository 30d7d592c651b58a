#include "html.h"

using namespace m1rt;

namespace m1tool {

namespace {

constexpr char kStyle[] =
    "body{font-family:sans-serif;margin:2em auto;max-width:64em;padding:0 1em}"
    "table{border-collapse:collapse}td,th{padding:.2em .8em;text-align:left;vertical-align:top}"
    "pre{white-space:pre-wrap;background:#f5f5f5;padding:.6em;margin:.3em 0 .8em}"
    "details{margin:.15em 0}summary{cursor:pointer}"
    ".right{color:#18722a}.wrong{color:#a02020}.none{color:#777}"
    ".bar{display:inline-block;width:6em;height:.7em;background:#eee}"
    ".bar span{display:block;height:100%;background:#0b6fa4}";

std::string sampleHtml(const SampleRecord &r) {
  const char *mark = r.correct ? "right" : r.answer ? "wrong" : "none";
  std::string out = formatted("<details><summary class=\"%s\">sample %u: ", mark, r.sample);
  out += r.answer ? markupText(*r.answer) : "no ballot (" + markupText(r.silence) + ")";
  out += formatted(" — %s%s, %llu tokens, %.2f s</summary><pre>", r.finish.c_str(),
                   r.forced ? ", closed by force" : "", (unsigned long long)r.tokens, r.seconds);
  return out + markupText(r.text) + "</pre></details>\n";
}

std::string problemHtml(const Problem &problem, const std::vector<const SampleRecord *> &samples,
                        bool byConfidence) {
  size_t right = 0, drawn = 0;
  for (const SampleRecord *r : samples) {
    right += r->correct;
    drawn += r->finish != "not_needed";
  }
  const int winner = voteOf(samples, byConfidence);
  const bool voteRight = winner >= 0 && samples[size_t(winner)]->correct;
  const double share = drawn ? double(right) / double(drawn) : 0;
  std::string out = "<details><summary><span class=\"bar\"><span style=\"width:" +
                    formatted("%.0f%%", 100 * share) + "\"></span></span> " +
                    formatted("%zu of %zu right, vote ", right, drawn);
  out += formatted("<span class=\"%s\">", winner < 0 ? "none" : voteRight ? "right" : "wrong");
  out += winner < 0 ? "none" : markupText(*samples[size_t(winner)]->answer);
  out += "</span>, expected " + markupText(problem.answer) + " — " + markupText(problem.id) +
         "</summary>\n<pre>" + markupText(problem.text) + "</pre>\n";
  for (const SampleRecord *r : samples)
    out += sampleHtml(*r);
  return out + "</details>\n";
}

} // namespace

std::string markupText(const std::string &text) {
  std::string out;
  for (char c : text) {
    switch (c) {
    case '<':
      out += "&lt;";
      break;
    case '>':
      out += "&gt;";
      break;
    case '&':
      out += "&amp;";
      break;
    case '"':
      out += "&quot;";
      break;
    default:
      out += c;
    }
  }
  return out;
}

std::string htmlReport(const std::string &title,
                       const std::vector<std::pair<std::string, std::string>> &facts,
                       const std::string &curve, const std::vector<Problem> &problems,
                       const std::vector<ProblemSamples> &samples, bool byConfidence) {
  std::string out = "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>" +
                    markupText(title) + "</title><style>" + kStyle + "</style></head><body>\n<h1>" +
                    markupText(title) + "</h1>\n<table>\n";
  for (const auto &[name, value] : facts)
    out += "<tr><th>" + markupText(name) + "</th><td>" + markupText(value) + "</td></tr>\n";
  out += "</table>\n" + curve + "<h2>Problems</h2>\n";
  for (size_t i = 0; i < problems.size(); ++i)
    if (!samples[i].samples.empty())
      out += problemHtml(problems[i], samples[i].samples, byConfidence);
  return out + "</body></html>\n";
}

} // namespace m1tool
