# Makes pkgdown's pages work without the network, from a web server or from a disk. pkgdown's own
# contents, search and formulas load eight libraries from other sites.

#' Replace everything that a page loads from elsewhere with pages.css and pages.js
without_other_sites <- function(file, root) {
  page <- xml2::read_html(file, encoding = "UTF-8")
  head <- xml2::xml_find_first(page, "//head")
  elsewhere <- paste(
    "script[contains(@src, ':') or contains(@src, 'pkgdown.js')]", "link[contains(@href, ':')]",
    "comment()",
    sep = " | "
  )
  xml2::xml_remove(xml2::xml_find_all(head, elsewhere))
  # the image of a logo that does not exist
  xml2::xml_remove(xml2::xml_find_all(page, "//img[@src='']"))
  xml2::xml_add_child(head, "link", href = paste0(root, "pages.css"), rel = "stylesheet")
  # an empty icon, or browsers would request one
  xml2::xml_add_child(head, "link", href = "data:,", rel = "icon")
  xml2::xml_add_child(head, "script", src = paste0(root, "pages.js"), defer = "")
  xml2::write_html(page, file, format = FALSE)
}

# TeX in the text of a page, but not in code
tex <- paste0(
  "(?s)<(pre|code|head|script)\\b.*?</\\1>(*SKIP)(*F)",
  "|\\\\\\(.+?\\\\\\)|\\\\\\[.+?\\\\\\]|\\$\\$.+?\\$\\$"
)

#' Write formulas as MathML, which browsers show without a library
#'
#' pandoc translates the formulas of all pages in one call.
formulas_as_mathml <- function(files) {
  pages <- vapply(files, function(file) {
    paste(readLines(file, encoding = "UTF-8"), collapse = "\n")
  }, "")
  places <- gregexpr(tex, pages, perl = TRUE)
  found <- regmatches(pages, places)
  formulas <- unique(unlist(found))
  mathml <- stats::setNames(tex_to_mathml(formulas), formulas)
  regmatches(pages, places) <- lapply(found, function(each) unname(mathml[each]))
  for (file in files[lengths(found) > 0]) {
    writeLines(pages[[file]], file, useBytes = TRUE)
  }
}

tex_to_mathml <- function(formulas) {
  displayed <- !startsWith(formulas, "\\(")
  dollars <- ifelse(displayed, "$$", "$")
  inner <- trimws(substr(formulas, 3, nchar(formulas) - 2))
  for (entity in names(entities)) {
    inner <- gsub(entity, entities[[entity]], inner, fixed = TRUE)
  }
  source <- tempfile(fileext = ".md")
  writeLines(paste0(dollars, gsub("\\s+", " ", inner), dollars, "\n"), source, useBytes = TRUE)
  output <- tempfile(fileext = ".html")
  rmarkdown::pandoc_convert(source, "html", "markdown", output, options = "--mathml")
  html <- paste(readLines(output, encoding = "UTF-8"), collapse = "\n")
  mathml <- regmatches(html, gregexpr("(?s)<math.*?</math>", html, perl = TRUE))[[1]]
  if (length(mathml) != length(formulas)) {
    stop("pandoc could not translate a formula: see the warnings above.", call. = FALSE)
  }
  ifelse(displayed, sprintf("<span class=\"formula\">%s</span>", mathml), mathml)
}

# The ampersand is last because the others contain it
entities <- c("&lt;" = "<", "&gt;" = ">", "&nbsp;" = " ", "\u00a0" = " ", "&amp;" = "&")

#' Write the text of all sections as a script, which pages on a disk may load too
#'
#' pkgdown's own index leaves out frequent words, so excerpts cannot be taken from it.
write_search_index <- function(site, pages) {
  sections <- unlist(lapply(pages, sections_of, site = site), recursive = FALSE)
  json <- jsonlite::toJSON(sections, auto_unbox = TRUE)
  script <- paste0("window.kerasgdSearchIndex = ", json, ";")
  writeLines(script, file.path(site, "search-index.js"), useBytes = TRUE)
}

sections_of <- function(page, site) {
  main <- xml2::xml_find_first(xml2::read_html(file.path(site, page)), "//main")
  headings <- xml2::xml_find_all(main, ".//h1 | .//h2 | .//h3")
  pieces <- xml2::xml_find_all(main, sprintf(".//text()[not(ancestor::*[%s])]", not_searched))
  owners <- path_of_section(pieces)
  titles <- path_of_section(headings)
  # text outside the sections belongs to the title
  owners[!owners %in% titles[-1]] <- titles[[1]]
  in_code <- path_above(pieces, "pre") != ""
  title <- in_one_line(headings[1])
  lapply(seq_along(headings), function(i) {
    own <- owners == titles[[i]]
    list(
      path = paste0(page, anchor_of(headings[[i]])), dir = folder_name(page),
      title = title, what = in_one_line(headings[i]),
      code = in_one_line(pieces[own & in_code]), text = in_one_line(pieces[own & !in_code])
    )
  })
}

not_searched <- paste(
  "self::h1 or self::h2 or self::h3 or self::script or self::annotation",
  "or contains(@class, 'dont-index') or contains(@class, 'd-none')"
)

#' The path of the closest such element above each node; "" if there is none
path_above <- function(nodes, element) {
  above <- xml2::xml_find_first(nodes, sprintf("ancestor::%s[1]", element))
  ifelse(is.na(above), "", xml2::xml_path(above))
}

path_of_section <- function(nodes) {
  path_above(nodes, "div[contains(@class, 'section ')][h2 or h3]")
}

blocks_of_text <- c("p", "li", "dt", "dd", "td", "th", "pre")

#' Join pieces of text in one line, with a space before each new paragraph, entry or cell
in_one_line <- function(pieces) {
  is_block <- paste0("self::", blocks_of_text, collapse = " or ")
  blocks <- path_above(pieces, paste0("*[", is_block, "]"))
  begins <- blocks != c("", blocks)[seq_along(blocks)]
  text <- paste0(ifelse(begins, " ", ""), xml2::xml_text(pieces), collapse = "")
  trimws(gsub("\\s+", " ", text))
}

anchor_of <- function(heading) {
  link <- xml2::xml_find_first(heading, "./a[@class='anchor']")
  if (is.na(link)) "" else xml2::xml_attr(link, "href")
}

folder_name <- function(page) {
  switch(dirname(page), reference = "Reference", articles = "Articles", "")
}

#' The relative path from a page to the root of the site: "", "../" or "../../"
way_up <- function(page) strrep("../", lengths(regmatches(page, gregexpr("/", page))))

#' @param site The folder that pkgdown has built
work_offline <- function(site) {
  pages <- list.files(site, "[.]html$", recursive = TRUE)
  files <- file.path(site, pages)
  Map(without_other_sites, files, way_up(pages))
  formulas_as_mathml(files)
  write_search_index(site, setdiff(pages, "404.html"))
  file.copy(file.path("tools", "site", c("pages.js", "pages.css")), site, overwrite = TRUE)
  unlink(file.path(site, c("pkgdown.js", "search.json")))
}
