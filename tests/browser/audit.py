"""Whether a page can be used without a mouse, without eyes, and on a telephone."""

# What a person may want to press, choose or write into, on the screen now.
CONTROLS = """() => [...document.querySelectorAll(
    'button, a[href], input, select, textarea, summary, [role="button"], [role="slider"], [role="grid"], [tabindex="0"]'
  )].filter(element => element.checkVisibility({visibilityProperty: true}) && !element.disabled
    && element.getAttribute('tabindex') !== '-1' && element.type !== 'hidden')"""


def accessibility_problems(page, *, preload=True):
    """What axe-core finds on the page as it stands: names, roles, contrast, structure.

    Without `preload` it does not ask for the style sheets again, of which it gets the addresses wrong where one imports
    another from its own folder; and passes over the one rule that needs them, whether the page may be turned.
    """
    from axe_playwright_python.sync_playwright import Axe  # here: without it the tests must still be collected

    results = Axe().run(page, options={"resultTypes": ["violations"], "preload": preload}).response
    return [
        f"{violation['id']}: {violation['help']}: {node['html'][:200]} {node.get('failureSummary', '')[:300]}"
        for violation in results["violations"]
        for node in violation["nodes"][:3]
    ]


def unreachable_controls(page):
    """The controls that the Tab key never comes to, each as its HTML.

    Tab is pressed until it comes to where it was before: once around the page, by way of the browser's own controls.
    Of a group of radio buttons the browser itself offers only one, and the arrow keys lead to the others.
    """
    page.evaluate("() => { window.__reached = new Set(); }")
    around = False
    while not around:
        page.keyboard.press("Tab")
        around = page.evaluate(
            """() => {
                const element = document.activeElement;
                const again = window.__reached.has(element);
                window.__reached.add(element);
                return again && element !== document.body;
            }"""
        )
    return page.evaluate(
        f"""() => {{
            const groups = new Set([...window.__reached].filter(e => e.type === 'radio').map(e => e.name));
            return ({CONTROLS})()
                .filter(e => !window.__reached.has(e) && !(e.type === 'radio' && groups.has(e.name)))
                .map(e => e.outerHTML.slice(0, 200));
        }}"""
    )


def nameless_controls(page):
    """The focusable things that a screen reader would announce without a name."""
    session = page.context.new_cdp_session(page)
    nodes = session.send("Accessibility.getFullAXTree")["nodes"]
    session.detach()
    return [
        f"{node['role']['value']} without a name"
        for node in nodes
        if not node.get("ignored")
        and node["role"]["value"] != "RootWebArea"
        and any(p["name"] == "focusable" and p["value"].get("value") for p in node.get("properties", []))
        and not (node.get("name", {}).get("value") or "").strip()
    ]


def mouse_only(page):
    """The visible elements that answer a click and can have the focus neither themselves nor through a parent."""
    session = page.context.new_cdp_session(page)
    session.send("DOM.enable")
    document = session.send("Runtime.evaluate", {"expression": "document"})["result"]["objectId"]
    listeners = session.send("DOMDebugger.getEventListeners", {"objectId": document, "depth": -1})["listeners"]
    nodes = {
        listener["backendNodeId"]
        for listener in listeners
        if listener["type"] in ("click", "mousedown", "pointerdown", "mouseup", "pointerup")
    }
    problems = []
    for node in nodes:
        thing = session.send("DOM.resolveNode", {"backendNodeId": node})["object"]["objectId"]
        answer = session.send(
            "Runtime.callFunctionOn",
            {
                "objectId": thing,
                "functionDeclaration": """function () {
                    if (!(this instanceof Element) || !this.checkVisibility({visibilityProperty: true})) return '';
                    const focusable = 'button, a[href], input, select, textarea, summary, label, [tabindex]';
                    return this.closest(focusable) || this.disabled ? '' : this.outerHTML.slice(0, 200);
                }""",
                "returnByValue": True,
            },
        )
        if answer["result"]["value"]:
            problems.append(answer["result"]["value"])
    session.detach()
    return problems


def overflow(page):
    """How many pixels of the page are to the right of the window, and what hides them if something does.

    What fits itself to its room, by a ResizeObserver, does so while the browser prepares its next frame, so that nobody
    sees it before; a script can. So this looks at a page that was drawn.
    """
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    return page.evaluate(
        """() => {
            const root = document.scrollingElement, found = [];
            if (root.scrollWidth > root.clientWidth) {
                const culprits = [...document.body.querySelectorAll('*')]
                    .filter(e => e.getBoundingClientRect().right > root.clientWidth + 0.5)
                    .slice(0, 5).map(e => e.outerHTML.slice(0, 120));
                found.push(`${root.scrollWidth - root.clientWidth} px too wide: ${culprits.join(' | ')}`);
            }
            for (const element of [document.documentElement, document.body])
                if (['hidden', 'clip'].includes(getComputedStyle(element).overflowX))
                    found.push(`${element.tagName} cuts off what is too wide`);
            return found;
        }"""
    )
