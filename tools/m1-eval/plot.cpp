#include "plot.h"
#include "html.h"
#include <cmath>
#include <cstdio>

namespace m1tool {

namespace {

constexpr double kPanelWidth = 380, kPanelHeight = 280, kLeft = 56, kTop = 56, kGap = 70;
const char *const kMajorityColor = "#0b6fa4", *const kCoverageColor = "#c2571a";

std::string number(double value, const char *format = "%.1f") {
  char text[48];
  std::snprintf(text, sizeof text, format, value);
  return text;
}

std::string text(double x, double y, const std::string &content, const char *anchor = "middle",
                 const char *extra = "") {
  return "<text x=\"" + number(x) + "\" y=\"" + number(y) + "\" text-anchor=\"" + anchor + "\" " +
         extra + ">" + markupText(content) + "</text>\n";
}

/// A round step that makes about four of a range.
double roundStep(double range) {
  double raw = range / 4, power = std::pow(10, std::floor(std::log10(raw)));
  for (double factor : {1.0, 2.0, 5.0})
    if (factor * power >= raw)
      return factor * power;
  return 10 * power;
}

std::string panel(const std::vector<CurvePoint> &points, double left, bool logarithmic,
                  const std::string &label) {
  std::string out;
  double first = logarithmic ? points.front().x : 0, last = points.back().x;
  auto xAt = [&](double x) {
    double share = logarithmic
                       ? (last > first ? std::log2(x / first) / std::log2(last / first) : 0.5)
                       : x / last;
    return left + share * kPanelWidth;
  };
  auto yAt = [&](double y) { return kTop + (1 - y) * kPanelHeight; };
  for (int i = 0; i <= 5; ++i) {
    double y = yAt(i / 5.0);
    out += "<line x1=\"" + number(left) + "\" x2=\"" + number(left + kPanelWidth) + "\" y1=\"" +
           number(y) + "\" y2=\"" + number(y) + "\" stroke=\"#dddddd\"/>\n";
    out += text(left - 8, y + 4, std::to_string(i * 20) + " %", "end");
  }
  if (logarithmic) {
    for (const CurvePoint &p : points)
      out += text(xAt(p.x), kTop + kPanelHeight + 18, number(p.x, "%.0f"));
  } else {
    double step = roundStep(last);
    for (double x = 0; x <= last * 1.0001; x += step)
      out += text(xAt(x), kTop + kPanelHeight + 18, number(x, "%g"));
  }
  out += text(left + kPanelWidth / 2, kTop + kPanelHeight + 38, label);
  for (bool majority : {false, true}) {
    std::string path;
    for (const CurvePoint &p : points)
      path += number(xAt(p.x)) + "," + number(yAt(majority ? p.majority : p.coverage)) + " ";
    const char *color = majority ? kMajorityColor : kCoverageColor;
    out += "<polyline points=\"" + path + "\" fill=\"none\" stroke=\"" + color +
           "\" stroke-width=\"2\"/>\n";
    if (logarithmic)
      for (const CurvePoint &p : points)
        out += "<circle cx=\"" + number(xAt(p.x)) + "\" cy=\"" +
               number(yAt(majority ? p.majority : p.coverage)) + "\" r=\"3\" fill=\"" + color +
               "\"/>\n";
  }
  return out;
}

} // namespace

std::string drawCurves(const Summary &summary, const std::string &title) {
  double width = kLeft + 2 * kPanelWidth + kGap + 24, height = kTop + kPanelHeight + 56;
  std::string out =
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"" + number(width, "%.0f") +
      "\" height=\"" + number(height, "%.0f") +
      "\" font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" "
      "fill=\"white\"/>\n";
  out += text(kLeft, 22, title, "start", "font-size=\"14\" font-weight=\"bold\"");
  double legend = kLeft;
  for (const auto &[name, color] :
       {std::pair<const char *, const char *>{"majority vote", kMajorityColor},
        {"any sample right (coverage)", kCoverageColor}}) {
    out += "<rect x=\"" + number(legend) + "\" y=\"32\" width=\"14\" height=\"4\" fill=\"" + color +
           "\"/>\n" + text(legend + 20, 39, name, "start");
    legend += 130;
  }
  if (!summary.overSamples.empty())
    out += panel(summary.overSamples, kLeft, true, "samples a problem");
  if (!summary.overSeconds.empty())
    out += panel(summary.overSeconds, kLeft + kPanelWidth + kGap, false,
                 "seconds from the start of a problem");
  return out + "</svg>\n";
}

} // namespace m1tool
