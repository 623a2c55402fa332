"""A page to try the model on and to watch it denoise.

routes       the page's files, and what it must know of the server
page.html    what is on the page; page.css how it looks, icon.svg its icon
page.js      what happens on it; the modules beside it each know one part:
client.js    requests and events      examples.js  tools and requests to begin with
form.js      what is asked            canvas.js    drafts, step by step
result.js    what came of it          compare.js   the same in other ways
snippets.js  the same as curl and Python
"""
