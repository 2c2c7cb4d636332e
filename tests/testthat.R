library(testthat)
library(kerasgd)

test_check("kerasgd")
