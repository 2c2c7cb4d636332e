#' Describe a value in R's terms, to complete a sentence "..., not <this>."
#' @noRd
describe <- function(x) {
  if (is.null(x)) {
    "`NULL`"
  } else if (is_python_object(x)) {
    describe_python_object(x)
  } else if (is.function(x)) {
    describe_function(x)
  } else if (is.object(x)) {
    describe_classed(x)
  } else if (is.array(x)) {
    sprintf("%s of %s", with_article(kind_of_array(x)), paste(dim(x), collapse = " x "))
  } else if (is.list(x)) {
    if (length(x) == 0) "an empty list" else sprintf("a list of length %d", length(x))
  } else if (is.atomic(x)) {
    describe_vector(x)
  } else {
    with_article(describe_language(x))
  }
}

#' Describe an element of a vector or list, to complete "element 2 is <this>"
#' @noRd
describe_element <- function(x) {
  is_scalar <- is.atomic(x) && length(x) == 1 && !is.object(x)
  if (is_scalar && (is.numeric(x) || is.logical(x) || is.na(x))) {
    format(x, digits = 15)
  } else {
    describe(x)
  }
}

describe_python_object <- function(x) {
  if (!is_live_python_object(x)) {
    return("a Python object from an earlier session")
  }
  if (inherits(x, "python.builtin.type")) {
    return(sprintf("the Python class `%s`", x$`__name__`))
  }
  sprintf("a Python object of class <%s>", class(x)[[1]])
}

describe_function <- function(x) {
  if (is_constructor(x)) {
    return(sprintf("the function `%s`", exported_name(x)))
  }
  needed <- required_formals(x)
  if (length(needed) == 0) {
    return("a function")
  }
  sprintf("a function of %s", paste0("`", needed, "`", collapse = ", "))
}

describe_classed <- function(x) {
  if (is.data.frame(x)) {
    "a data frame"
  } else if (is.factor(x)) {
    "a factor"
  } else {
    sprintf("an object of class <%s>", class(x)[[1]])
  }
}

describe_vector <- function(x) {
  type <- if (is.double(x)) "numeric" else typeof(x)
  if (length(x) == 0) {
    sprintf("an empty %s vector", type)
  } else if (length(x) > 1) {
    sprintf("%s vector of length %d", with_article(type), length(x))
  } else {
    describe_scalar(x)
  }
}

describe_scalar <- function(x) {
  if (is.na(x) || is.logical(x)) {
    # dput() distinguishes NA_real_ and NaN from NA
    return(sprintf("`%s`", rlang::expr_text(unname(as.vector(x)))))
  }
  switch(typeof(x),
    character = describe_string(x),
    integer = sprintf("the integer %dL", x),
    double = if (is.finite(x)) sprintf("the number %.15g", x) else sprintf("`%s`", format(x)),
    complex = sprintf("the complex number %s", format(x)),
    raw = sprintf("the raw byte %s", format(x))
  )
}

describe_string <- function(x) {
  if (x == "") {
    return("the empty string \"\"")
  }
  shown <- if (nchar(x) > 40) paste0(substr(x, 1, 37), "...") else x
  sprintf("the string %s", encodeString(shown, quote = "\""))
}

describe_language <- function(x) {
  switch(typeof(x),
    environment = "environment",
    symbol = "symbol",
    language = "call",
    S4 = "S4 object",
    typeof(x)
  )
}

kind_of_array <- function(x) {
  type <- if (is.double(x)) "numeric" else typeof(x)
  paste(type, if (length(dim(x)) == 2) "matrix" else "array")
}

with_article <- function(noun) {
  paste(if (grepl("^[aeiou]", noun)) "an" else "a", noun)
}
