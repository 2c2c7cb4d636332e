# Colours of Okabe and Ito, which colour-blind readers can tell apart, without black and yellow

colours <- c(
  blue = "#0072B2", vermilion = "#D55E00", green = "#009E73", purple = "#CC79A7",
  orange = "#E69F00", sky = "#56B4E9"
)
