# Runs lintr on the package and on the project's R scripts; fails if it reports anything.

lints <- c(
  lintr::lint_package(),
  lintr::lint_dir("tools", relative_path = FALSE),
  lintr::lint_dir("benchmarks", relative_path = FALSE)
)
for (lint in lints) print(lint)
quit(save = "no", status = as.integer(length(lints) > 0))
