(function () {
    $.atoms["bk-plugin-demo"] = [
        {
            "type": "input",
            "attrs": {
                "name": "Hello",
                "hookable": true,
                "validation": [{"type": "required"}]
            },
            "tag_code": "hello"
        }
    ]
})();
