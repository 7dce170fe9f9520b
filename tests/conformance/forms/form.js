(function () {
    $.atoms["bk-plugin-demo"] = [
        {
            "type": "input",
            "attrs": {
                "name": "Hello",
                "hookable": true
            },
            "tag_code": "hello"
        }
    ]
})();